//! A network's structure → a Python file that defines it in PyTorch and loads its weights.
//!
//! The file is `assets/python/network.py` with this network's values, and of its marked parts
//! (`#@if WHAT` to `#@end`) those that the network has.

use super::Trained;
use super::network::json;
use crate::error::{Error, Result};
use crate::graph::spec::{NetworkKind, StemKind};

const TEMPLATE: &str = include_str!("../../assets/python/network.py");

/// The text of the file.
///
/// # Errors
/// [`Error::Usage`] for a search parent, which is no single network.
pub fn to_text(network: &Trained) -> Result<String> {
    let (spec, about) = (&network.spec, &network.about);
    if spec.kind != NetworkKind::Final {
        let try_this = "train its genotype, and export that";
        return Err(Error::usage("Python file", "a final network", "a search's shared weights", try_this));
    }
    let has = |what: &str| match what {
        "cifar" => spec.stem == StemKind::Cifar,
        "imagenet" => spec.stem == StemKind::ImageNet,
        "auxiliary" => spec.auxiliary,
        "normalisation" => !about.mean.is_empty() && !about.std.is_empty(),
        "class_names" => !about.class_names.is_empty(),
        _ => false,
    };
    let values = [
        ("@GENOTYPE@", network.genotype.to_string()),
        ("@LAYERS@", spec.layers.to_string()),
        ("@CHANNELS@", spec.channels.to_string()),
        ("@CLASSES@", spec.n_classes.to_string()),
        ("@IMAGE@", format!("{}, {}, {}", spec.in_channels, spec.height, spec.width)),
        ("@MEAN@", json(&about.mean)),
        ("@STD@", json(&about.std)),
        ("@AUXILIARY_POOL@", auxiliary_pool(network)),
        // Last, since a name may hold anything.
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

/// The lines of `template` outside its marked parts, and those inside the parts that are `wanted`; parts
/// may stand in parts.
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

/// The pool of the auxiliary head leaves 2x2 maps: that of the reference at its sizes, an adaptive one
/// elsewhere.
fn auxiliary_pool(network: &Trained) -> String {
    let spec = &network.spec;
    let size = spec.cells().get(spec.auxiliary_cell()).map(|cell| (cell.h, cell.w));
    match (spec.stem, size) {
        (StemKind::Cifar, Some((8, 8))) => "nn.AvgPool2d(5, 3, 0, count_include_pad=False)".into(),
        (StemKind::ImageNet, Some((7, 7))) => "nn.AvgPool2d(5, 2, 0, count_include_pad=False)".into(),
        _ => "nn.AdaptiveAvgPool2d(2)".into(),
    }
}
