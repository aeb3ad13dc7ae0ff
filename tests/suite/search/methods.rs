//! What a search ends with, by its method.

use parsec_nas::config::{Config, Method};
use toml::Table;

use super::{all, config, run, search};

#[test]
fn a_random_search_ends_with_a_draw_that_the_seed_decides() {
    let random = |seed| search(Config { method: Method::Random, seed, ..config() });
    let Some(mut first) = random(0) else { return };
    let start = first.snapshot().unwrap();
    let drawn = first.genotype();
    run(&mut first, 1);
    let end = first.snapshot().unwrap();
    assert_eq!(all(&start, "pi."), all(&end, "pi."), "the prior stays");
    assert_ne!(all(&start, "v."), all(&end, "v."), "the weights do not");
    assert_eq!(drawn, first.genotype());
    assert_eq!(drawn, random(0).unwrap().genotype());
    let others: Vec<_> = (1..4).map(|seed| random(seed).unwrap().genotype()).collect();
    assert!(others.iter().all(|other| *other != drawn), "{others:?}");
    // The mode of a uniform prior is its first pair everywhere, whatever the seed.
    let mode = first.prior().unwrap().mode();
    assert_ne!(first.architecture(), mode);
}

#[test]
fn a_method_is_a_setting_like_any_other() {
    let flags = |method: &str| Table::from_iter([("method".to_owned(), method.into())]);
    let config = Config::resolve(None, &flags("random")).unwrap();
    assert_eq!(config.method, Method::Random);
    assert!(config.to_toml().unwrap().contains("method = \"random\""));
    assert_eq!(Config::preset().unwrap().method, Method::Parsec);
    let error = Config::resolve(None, &flags("enas")).unwrap_err().to_string();
    assert!(error.contains("--method") && error.contains("parsec, darts or random"), "{error}");
}
