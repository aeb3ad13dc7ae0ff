//! The verdict on the result of a search, on evidence whose truth is known.

use parsec_nas::report::trust::{Trust, evidence, seen};
use parsec_nas::rng::{Purpose, stream};
use parsec_nas::search::best::{Best, best};
use parsec_nas::search::evidence::{Evidence, Seen};
use parsec_nas::space::{Alpha, Chain, Space};
use rand::RngExt;

/// Evidence from children of a chain. The effect of a layer is `worth` times the number of its choice, and each child
/// has noise.
fn found(worth: f64, seed: u64) -> (Evidence, Best) {
    let mut rng = stream(seed, Purpose::Test, 79, 0);
    let mut seen = Vec::new();
    for step in 1..=100 {
        for _ in 0..4 {
            let alpha: Vec<u16> = (0..8).map(|_| rng.random_range(0..3)).collect();
            let sum: f64 = alpha.iter().map(|c| f64::from(*c)).sum();
            seen.push(Seen { step, alpha: Alpha(alpha), score: worth * sum + rng.random_range(-0.1..0.1) });
        }
    }
    (Evidence::of(&[3; 8], &seen).unwrap(), best(&Chain::default(), &seen, None).unwrap())
}

#[test]
fn signal_is_more_than_chance_and_noise_is_not() {
    let best = Alpha(vec![2; 8]);
    for seed in 0..10 {
        let (evidence, of_children) = found(0.05, seed);
        assert_eq!(of_children.alpha, best);
        let trust = |better| Trust::of(Some(&evidence), Some(&of_children), &best, [better, 16]);
        let signal = trust(16);
        assert!(signal.more_than_chance && signal.advantage > 0.3, "{signal:?}");
        assert!(signal.text().starts_with("more than chance:\n"), "{}", signal.text());
        // A result that is better than only 14 of 16 random architectures is not more than chance, whatever the
        // evidence is.
        assert!(!trust(14).more_than_chance);
        assert!(trust(15).more_than_chance);
    }
    // Noise alone does not give a result that is more than chance.
    let verdicts = (0..40).filter(|seed| {
        let (noise, best) = found(0.0, *seed);
        let trust = Trust::of(Some(&noise), Some(&best), &best.alpha, [16, 16]);
        assert!(trust.advantage > 0.0);
        trust.more_than_chance
    });
    assert!(verdicts.count() <= 2);
    let nothing = Trust::of(None, None, &best, [16, 16]);
    assert!(!nothing.more_than_chance && nothing.text().contains("parsec consensus"), "{}", nothing.text());
}

/// Metrics as a run writes them, also with lines that are ignored: of a warm-up, of an older version, and incomplete.
#[test]
fn evidence_is_read_from_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    let chain = Chain::default();
    let line = |step: u64, warm_up: bool| {
        format!(
            r#"{{"step":{step},"warm_up":{warm_up},"alpha":[[2,0,0,0,0,0,0,0],[0,0,0,0,0,0,0,0]],"log_likelihood":[-100.0,-110.0]}}"#
        )
    };
    let lines = [
        line(1, true),
        line(2, false),
        r#"{"step":3,"log_likelihood":[-1.0]}"#.into(),
        line(4, false),
        "{\"st".into(),
    ];
    std::fs::write(&path, lines.join("\n")).unwrap();
    let found = evidence(&chain, &seen(&path, &chain, 10).unwrap()).unwrap();
    assert_eq!(found.n_children, 4);
    // The difference of the two choices is ten nats over ten images, which is 1 nat per image. The ridge makes the
    // effects smaller.
    let [none, two] = [found.effects[0][0], found.effects[0][2]];
    assert!(two.effect > 0.2 && none.effect < -0.2 && two.n == 2 && none.n == 2, "{:?}", found.effects[0]);
    assert_eq!(evidence(&chain, &seen(&path, &chain, 10).unwrap()).unwrap(), found);

    std::fs::write(&path, line(1, true)).unwrap();
    assert_eq!(evidence(&chain, &seen(&path, &chain, 10).unwrap()), None);
    assert_eq!(seen(&folder.path().join("none"), &chain, 10).unwrap_err().exit_code(), 1);
    assert_eq!(chain.slots().len(), 8);
}
