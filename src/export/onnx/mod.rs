//! A trained network → an ONNX model. Its input is `images` F32 [N, C, H, W], normalised; its output is `logits` F32
//! [N, classes]. N is free.
//!
//! Parts that only training needs are absent: drop-path, the auxiliary head, batch statistics. Operations on which no
//! logit depends are absent too, such as a preprocessing that the genotype never reads.

mod graph;
mod network;
pub mod proto;

use prost::Message;

use self::proto::{Dimension, Extent};
use super::Trained;
use crate::error::{Error, Result};
use crate::space::NetworkKind;

/// Version of the operators.
pub const OPSET: i64 = 17;
/// Version of the file format.
pub const IR_VERSION: i64 = 8;
/// Largest size of a protocol buffer. The weights of a larger model would need separate files.
const MOST_BYTES: u64 = (1 << 31) - 1;

/// Options of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether batch norms are folded into the convolutions before them.
    pub fold: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { fold: true }
    }
}

/// The bytes of the ONNX file of `network`.
///
/// # Errors
/// [`Error::Usage`] for a search parent, which has no running statistics and is no single network, and for a model of
/// more than 2 GiB.
pub fn to_bytes(network: &Trained, options: Options) -> Result<Vec<u8>> {
    let bytes = model(network, options)?.encode_to_vec();
    if bytes.len() as u64 > MOST_BYTES {
        let try_this = "--safetensors with --python instead";
        let found = format!("{} bytes", bytes.len());
        return Err(Error::usage("ONNX model", "at most 2 GiB", found, try_this));
    }
    Ok(bytes)
}

/// The ONNX model of `network` as messages. See [`to_bytes`].
pub fn model(network: &Trained, options: Options) -> Result<proto::Model> {
    let spec = &network.spec;
    if spec.kind != NetworkKind::Final {
        let try_this = "train its genotype, and export that";
        return Err(Error::usage("ONNX model", "a final network", "a search's shared weights", try_this));
    }
    let graph = network::graph(network, options.fold)?;
    let entry = |(key, value)| proto::Entry { key, value };
    Ok(proto::Model {
        ir_version: IR_VERSION,
        producer_name: env!("CARGO_PKG_NAME").into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(graph),
        opset_import: vec![proto::OperatorSet { domain: String::new(), version: OPSET }],
        // The `format` in the metadata is the format of tensor files, so it is left out.
        metadata_props: network.metadata().into_iter().filter(|(k, _)| k != "format").map(entry).collect(),
    })
}

/// An F32 value [N, …].
fn value(name: &str, extents: &[usize]) -> proto::ValueInfo {
    let dimension = |extent| Dimension { value: Some(extent) };
    let mut dim = vec![dimension(Extent::Param("N".into()))];
    dim.extend(extents.iter().map(|&n| dimension(Extent::Value(n as i64))));
    let tensor_type = proto::TensorType { elem_type: proto::FLOAT, shape: Some(proto::Shape { dim }) };
    proto::ValueInfo { name: name.into(), r#type: Some(proto::Type { tensor_type: Some(tensor_type) }) }
}
