//! A network's structure → a Python file that defines the network in PyTorch and loads its weights.
//!
//! The file is `assets/python/network.py` with the values of this network. Some parts of it are marked (`#@if WHAT` to
//! `#@end`). The file contains the marked parts that the network needs.

use super::Trained;
use super::network::json;
use crate::error::{Error, Result};
use crate::network::{Kind, Layer, Net, Shape, Window};
use crate::space::NetworkKind;

const TEMPLATE: &str = include_str!("../../assets/python/network.py");

/// The text of the Python file.
///
/// # Errors
/// [`Error::Usage`] for a search parent, which is no single network.
pub fn to_text(network: &Trained) -> Result<String> {
    let (spec, about) = (&network.spec, &network.about);
    if spec.kind != NetworkKind::Final {
        let try_this = "train its genotype, and export that";
        return Err(Error::usage("Python file", "a final network", "a search's shared weights", try_this));
    }
    let net = network.net();
    let has = |what: &str| match what {
        "auxiliary" => net.auxiliary_logits.is_some(),
        "plain" => net.auxiliary_logits.is_none(),
        "normalisation" => !about.mean.is_empty() && !about.std.is_empty(),
        "class_names" => !about.class_names.is_empty(),
        _ => false,
    };
    let lines: Vec<String> = net.layers[1..].iter().map(|layer| line(&net, layer)).collect();
    let values = [
        ("@SPACE@", spec.space.name().to_owned()),
        ("@GENOTYPE@", network.genotype()),
        ("@CLASSES@", spec.n_classes.to_string()),
        ("@IMAGE@", format!("{}, {}, {}", spec.in_channels, spec.height, spec.width)),
        ("@LAYERS@", lines.join("\n")),
        ("@LOGITS@", net.logits.to_string()),
        ("@AUXILIARY_LOGITS@", net.auxiliary_logits.unwrap_or(0).to_string()),
        ("@MEAN@", json(&about.mean)),
        ("@STD@", json(&about.std)),
        // This value is replaced last, because a name may contain any text.
        ("@CLASS_NAMES@", json(&about.class_names)),
    ];
    let mut text = parts(TEMPLATE, |what| match what.strip_prefix("no_") {
        Some(absent) => !has(absent),
        None => has(what),
    });
    for (mark, value) in values {
        text = text.replace(mark, &value);
    }
    Ok(text)
}

/// A layer as an item of the list of layers.
fn line(net: &Net, layer: &Layer) -> String {
    let c_in = layer.inputs.first().map_or(0, |x| net.layers[*x].shape.c);
    let c = layer.shape.c;
    let conv = |w: Window, groups: usize| {
        let mut text = format!("conv({c_in}, {c}, {}", w.k);
        let usual =
            [("stride", w.stride, 1), ("pad", w.pad, 0), ("dilation", w.dilation, 1), ("groups", groups, 1)];
        for (name, value, _) in usual.into_iter().filter(|(_, value, usual)| value != usual) {
            text += &format!(", {name}={value}");
        }
        text + ")"
    };
    let Shape { h, w, .. } = layer.shape;
    let (named, compute) = match &layer.kind {
        Kind::Images | Kind::Relu => (false, "relu".to_owned()),
        Kind::MaxPool(w) => (false, format!("nn.MaxPool2d({}, {}, {})", w.k, w.stride, w.pad)),
        Kind::AvgPool(w) => {
            (false, format!("nn.AvgPool2d({}, {}, {}, count_include_pad=False)", w.k, w.stride, w.pad))
        }
        Kind::FactorizedReduce => (true, format!("FactorizedReduce({c_in}, {c})")),
        Kind::Depthwise(window) => (true, conv(*window, c)),
        Kind::Conv(window) => (true, conv(*window, 1)),
        Kind::Norm { .. } => (true, format!("nn.BatchNorm2d({c})")),
        Kind::Sum(terms) if terms.is_empty() => (false, format!("zeros({c}, {h}, {w})")),
        Kind::Sum(_) => (false, "add".to_owned()),
        Kind::Concat => (false, "concat".to_owned()),
        Kind::PoolTo2x2 { window: Some(stride) } => {
            (false, format!("nn.AvgPool2d(5, {stride}, 0, count_include_pad=False)"))
        }
        Kind::PoolTo2x2 { window: None } => (false, "nn.AdaptiveAvgPool2d(2)".to_owned()),
        Kind::GlobalPool => (false, "mean".to_owned()),
        Kind::Linear => (true, format!("Linear({c_in}, {c})")),
    };
    let name = if named { format!("\"{}\"", layer.name) } else { "None".to_owned() };
    // Zeros take the number of images from the input.
    let inputs: Vec<String> = if layer.inputs.is_empty() {
        vec!["0".into()]
    } else {
        layer.inputs.iter().map(ToString::to_string).collect()
    };
    let what = if layer.auxiliary { ", \"auxiliary\"" } else { "" };
    format!("        ({name}, {compute}, [{}]{what}),", inputs.join(", "))
}

/// The lines of `template` outside its marked parts, and the lines inside the `wanted` parts. Parts may be nested.
fn parts(template: &str, wanted: impl Fn(&str) -> bool) -> String {
    let mut out = String::new();
    let mut within = vec![];
    for line in template.lines() {
        if let Some(what) = line.strip_prefix("#@if ") {
            within.push(wanted(what));
        } else if line == "#@end" {
            within.pop();
        } else if within.iter().all(|wanted| *wanted) {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}
