//! Operators, added one after another → the nodes and constants of a graph.
//!
//! A node has the name of the value that it computes.

use std::collections::{BTreeMap, BTreeSet};

use super::proto::{self, Attribute, Node, Tensor};

/// A graph that is being built.
#[derive(Default)]
pub struct Builder {
    nodes: Vec<Node>,
    constants: BTreeMap<String, Tensor>,
    /// Names of the ReLU nodes that exist already.
    relus: BTreeSet<String>,
}

impl Builder {
    /// Applies `op` to the values `inputs`. Returns the name of the result, which is `name`.
    pub fn node(&mut self, op: &str, name: &str, inputs: &[&str], attribute: Vec<Attribute>) -> String {
        self.nodes.push(Node {
            input: inputs.iter().map(|&i| i.to_owned()).collect(),
            output: vec![name.to_owned()],
            name: name.to_owned(),
            op_type: op.to_owned(),
            attribute,
        });
        name.to_owned()
    }

    /// max(x, 0). All operations that read it share one node.
    pub fn relu(&mut self, x: &str) -> String {
        let name = format!("{x}.relu");
        if self.relus.insert(name.clone()) {
            return self.node("Relu", &name, &[x], vec![]);
        }
        name
    }

    /// Adds a constant of 32-bit floats and returns its name.
    pub fn floats(&mut self, name: &str, shape: &[usize], numbers: &[f32]) -> String {
        let raw = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.constant(name, proto::FLOAT, shape, raw)
    }

    /// Adds a constant list of 64-bit integers and returns its name.
    pub fn integers(&mut self, name: &str, numbers: &[i64]) -> String {
        let raw = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.constant(name, proto::INT64, &[numbers.len()], raw)
    }

    fn constant(&mut self, name: &str, data_type: i32, shape: &[usize], raw_data: Vec<u8>) -> String {
        let dims = shape.iter().map(|&n| n as i64).collect();
        self.constants.insert(name.to_owned(), Tensor { dims, data_type, name: name.to_owned(), raw_data });
        name.to_owned()
    }

    /// The nodes and constants on which `output` depends, in the order in which they were added.
    pub fn finish(mut self, output: &str) -> (Vec<Node>, Vec<Tensor>) {
        let mut needed = BTreeSet::from([output.to_owned()]);
        let mut nodes: Vec<Node> = Vec::new();
        for node in self.nodes.drain(..).rev() {
            if node.output.iter().any(|name| needed.contains(name)) {
                needed.extend(node.input.iter().cloned());
                nodes.push(node);
            }
        }
        nodes.reverse();
        (nodes, self.constants.into_values().filter(|tensor| needed.contains(&tensor.name)).collect())
    }
}

/// The attribute `name` with one integer.
pub fn int(name: &str, value: i64) -> Attribute {
    Attribute { name: name.into(), i: Some(value), r#type: proto::ATTRIBUTE_INT, ..Attribute::default() }
}

/// The attribute `name` with several integers.
pub fn ints(name: &str, values: &[i64]) -> Attribute {
    Attribute {
        name: name.into(),
        ints: values.to_vec(),
        r#type: proto::ATTRIBUTE_INTS,
        ..Attribute::default()
    }
}

/// The attribute `name` with one float.
pub fn float(name: &str, value: f32) -> Attribute {
    Attribute { name: name.into(), f: Some(value), r#type: proto::ATTRIBUTE_FLOAT, ..Attribute::default() }
}
