//! The messages of ONNX that a network needs, with the field numbers of `onnx.proto`.
//!
//! Features that a network does not use (functions, sparse tensors, quantisation, external data) are absent. Readers
//! ask whether some fields are present. These fields are optional here, so that a zero is written too.

use prost::{Message, Oneof};

/// `TensorProto.DataType`: 32-bit floats.
pub const FLOAT: i32 = 1;
/// `TensorProto.DataType`: 64-bit integers.
pub const INT64: i32 = 7;
/// `AttributeProto.AttributeType`: one float.
pub const ATTRIBUTE_FLOAT: i32 = 1;
/// `AttributeProto.AttributeType`: one integer.
pub const ATTRIBUTE_INT: i32 = 2;
/// `AttributeProto.AttributeType`: several integers.
pub const ATTRIBUTE_INTS: i32 = 7;

/// A file: a graph and the versions and texts that describe it.
#[derive(Clone, PartialEq, Message)]
pub struct Model {
    /// Version of the file format.
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    /// Program that made the file.
    #[prost(string, tag = "2")]
    pub producer_name: String,
    /// Version of the program.
    #[prost(string, tag = "3")]
    pub producer_version: String,
    /// The graph.
    #[prost(message, optional, tag = "7")]
    pub graph: Option<Graph>,
    /// Versions of the operators.
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSet>,
    /// Text entries with free keys.
    #[prost(message, repeated, tag = "14")]
    pub metadata_props: Vec<Entry>,
}

/// Operators of one domain in one version.
#[derive(Clone, PartialEq, Message)]
pub struct OperatorSet {
    /// Name of the domain. Empty for the operators of ONNX itself.
    #[prost(string, tag = "1")]
    pub domain: String,
    /// The version.
    #[prost(int64, tag = "2")]
    pub version: i64,
}

/// A text entry.
#[derive(Clone, PartialEq, Message)]
pub struct Entry {
    /// Key of the entry.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Value of the entry.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// Nodes in an order in which they can run, with their constants.
#[derive(Clone, PartialEq, Message)]
pub struct Graph {
    /// The nodes.
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<Node>,
    /// Name of the graph.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The constants.
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<Tensor>,
    /// Inputs of the graph.
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfo>,
    /// Outputs of the graph.
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfo>,
}

/// One operator applied to values by name.
#[derive(Clone, PartialEq, Message)]
pub struct Node {
    /// Names of the values that the node reads.
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    /// Names of the values that the node computes.
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    /// Name of the node.
    #[prost(string, tag = "3")]
    pub name: String,
    /// The operator.
    #[prost(string, tag = "4")]
    pub op_type: String,
    /// Attributes of the operator.
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<Attribute>,
}

/// An attribute of an operator.
#[derive(Clone, PartialEq, Message)]
pub struct Attribute {
    /// Name of the attribute.
    #[prost(string, tag = "1")]
    pub name: String,
    /// One float.
    #[prost(float, optional, tag = "2")]
    pub f: Option<f32>,
    /// One integer.
    #[prost(int64, optional, tag = "3")]
    pub i: Option<i64>,
    /// Several integers.
    #[prost(int64, repeated, packed = "false", tag = "8")]
    pub ints: Vec<i64>,
    /// Type of the attribute, which says which of the three fields holds the value.
    #[prost(int32, tag = "20")]
    pub r#type: i32,
}

/// A constant.
#[derive(Clone, PartialEq, Message)]
pub struct Tensor {
    /// Extents, outermost axis first.
    #[prost(int64, repeated, packed = "false", tag = "1")]
    pub dims: Vec<i64>,
    /// [`FLOAT`] or [`INT64`].
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    /// Name of the tensor.
    #[prost(string, tag = "8")]
    pub name: String,
    /// The numbers, row-major, little-endian.
    #[prost(bytes = "vec", tag = "9")]
    pub raw_data: Vec<u8>,
}

/// Name and type of a value.
#[derive(Clone, PartialEq, Message)]
pub struct ValueInfo {
    /// Name of the value.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Type of the value.
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<Type>,
}

/// The type of a value.
#[derive(Clone, PartialEq, Message)]
pub struct Type {
    /// The type of a tensor. It is the only type here.
    #[prost(message, optional, tag = "1")]
    pub tensor_type: Option<TensorType>,
}

/// The type of a tensor.
#[derive(Clone, PartialEq, Message)]
pub struct TensorType {
    /// [`FLOAT`] or [`INT64`].
    #[prost(int32, tag = "1")]
    pub elem_type: i32,
    /// Extents of the tensor.
    #[prost(message, optional, tag = "2")]
    pub shape: Option<Shape>,
}

/// Extents of a tensor.
#[derive(Clone, PartialEq, Message)]
pub struct Shape {
    /// Extents, outermost axis first.
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<Dimension>,
}

/// One extent.
#[derive(Clone, PartialEq, Message)]
pub struct Dimension {
    /// A number or a name.
    #[prost(oneof = "Extent", tags = "1, 2")]
    pub value: Option<Extent>,
}

/// A number, or a name for a number.
#[derive(Clone, PartialEq, Oneof)]
pub enum Extent {
    /// The number is known.
    #[prost(int64, tag = "1")]
    Value(i64),
    /// The number is known when the model runs.
    #[prost(string, tag = "2")]
    Param(String),
}
