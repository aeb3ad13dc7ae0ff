//! The generated Python file.

use parsec_nas::export::{About, python};
use parsec_nas::space::{NetworkKind, StemKind};

use super::{small, trained, v2};

#[test]
fn it_holds_the_network_and_only_its_parts() {
    let network = small();
    let text = python::to_text(&network).unwrap();
    assert!(text.contains(&format!("GENOTYPE = \"{}\"\n", network.genotype())));
    assert!(text.contains("CLASSES = 5\n") && text.contains("IMAGE = (3, 12, 12)"));
    assert!(text.contains("MEAN, STD = [0.25,0.5,0.125], [0.5,0.5,0.5]"));
    // A class name that looks like a mark of the template is not replaced.
    assert!(text.contains(r#"["cat","dog","a \"quoted\" one","Käfer","@GENOTYPE@"]"#));
    assert!(!text.contains("#@") && text.matches('@').count() == 2, "{text}");
    assert!(!text.contains("stem0") && !text.contains("Auxiliary") && !text.contains("auxiliary"));

    let mut network = trained(&v2(), NetworkKind::Final, StemKind::ImageNet, true);
    network.about = About::default();
    let text = python::to_text(&network).unwrap();
    assert!(text.contains("\"stem0.0\"") && !text.contains("\"stem.0\""));
    assert!(text.contains("\"auxiliary_head."));
    assert!(!text.contains("MEAN") && !text.contains("CLASS_NAMES") && !text.contains('@'));
    // With this size the auxiliary head reads maps of 2x2, and the pool of the DARTS implementation is too large for
    // them.
    assert!(text.contains("AdaptiveAvgPool2d(2)") && !text.contains("AvgPool2d(5"));

    let parent = trained(&v2(), NetworkKind::Search, StemKind::Cifar, false);
    assert_eq!(python::to_text(&parent).unwrap_err().exit_code(), 2);
}

#[test]
fn the_auxiliary_pool_is_the_references_at_its_size() {
    let mut network = trained(&v2(), NetworkKind::Final, StemKind::Cifar, true);
    for (side, pool) in
        [(32, "nn.AvgPool2d(5, 3, 0, count_include_pad=False)"), (28, "nn.AdaptiveAvgPool2d(2)")]
    {
        (network.spec.height, network.spec.width) = (side, side);
        assert!(python::to_text(&network).unwrap().contains(pool), "{side}");
    }
}
