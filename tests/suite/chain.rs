//! The chain ("macro") space: PyTorch's numbers, counters and text, plans, whole searches, the program.

use std::sync::Arc;

use parsec_nas::space::chain::Choice;
use parsec_nas::space::{Chain, NetworkKind, NetworkSpec};
use proptest::prelude::*;
use proptest::sample::subsequence;
use serde_json::Value;

mod cli;
mod mixed;
mod plans;
mod replay;
mod search;
mod space;

/// Choices from their names, separated by commas.
fn choices(names: &str) -> Vec<Choice> {
    names.split(',').map(|name| name.parse().unwrap()).collect()
}

/// All choices of a layer that exist.
fn all_choices() -> Vec<Choice> {
    let blocks = (1..=8).flat_map(|e| [3, 5, 7].map(|k| Choice::Block { e, k }));
    std::iter::once(Choice::Identity).chain(blocks).collect()
}

/// The networks of a chain with this number of channels, for images of these channels and sides.
fn network(
    kind: NetworkKind,
    chain: Chain,
    channels: usize,
    [in_channels, height, width]: [usize; 3],
    n_classes: usize,
) -> NetworkSpec {
    NetworkSpec { space: Arc::new(chain), kind, in_channels, height, width, n_classes, channels }
}

/// The network of a fixture.
fn of_fixture(info: &Value) -> NetworkSpec {
    let count = |value: &Value| value.as_u64().unwrap() as usize;
    let stages: Vec<usize> = info["stages"].as_array().unwrap().iter().map(count).collect();
    let names: Vec<&str> = info["choices"].as_array().unwrap().iter().map(|c| c.as_str().unwrap()).collect();
    let chain = Chain::over(&stages, &choices(&names.join(",")), Some(count(&info["head"])));
    let kind = if info["network"] == "final" { NetworkKind::Final } else { NetworkKind::Search };
    let image = [count(&info["in_channels"]), count(&info["size"][0]), count(&info["size"][1])];
    network(kind, chain, count(&info["channels"]), image, count(&info["classes"]))
}

/// Chains of up to three stages of up to three layers. Each chain has up to `n_choices` choices in any order.
fn any_chain(n_choices: usize) -> impl Strategy<Value = Chain> {
    let stages = prop::collection::vec(1..=3usize, 1..=3);
    (stages, subsequence(all_choices(), 1..=n_choices).prop_shuffle())
        .prop_map(|(stages, choices)| Chain::over(&stages, &choices, None))
}
