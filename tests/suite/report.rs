//! Drawings and plots are valid and complete, nothing overlaps, and they are the same every time.

use std::sync::Arc;

use parsec_nas::cli::show::{ShowArgs, describe};
use parsec_nas::config::Memory;
use parsec_nas::report::{
    Item, ItemKind, Panel, Series, cells_dot, cells_svg, flow_svg, layout, metrics_svg, panels_svg, png,
    prior_svg, sheet_svg,
};
use parsec_nas::rng::{Purpose, stream};
use parsec_nas::space::NetworkKind;
use parsec_nas::space::genotype::named;
use parsec_nas::space::{CellKind, Darts, Genotype, Pair, Primitive, Prior, Space};
use resvg::usvg;

use super::golden;

fn random(index: u64) -> Genotype {
    let space = Darts::all();
    space.genotype(&Prior::uniform(&space).sample(&mut stream(1, Purpose::Test, 0, index)))
}

/// All terms are the same, so that every node has a duplicate.
fn duplicates() -> Genotype {
    let pair = Pair { input: 1, primitive: Primitive::SkipConnect };
    Genotype { normal: [[pair; 2]; 4], reduce: [[pair; 2]; 4] }
}

fn parse(svg: &str) -> usvg::Tree {
    usvg::Tree::from_str(svg, &parsec_nas::report::png::options()).expect("valid SVG")
}

fn overlap(a: &Item, b: &Item) -> bool {
    (a.x - b.x).abs() < (a.w + b.w) / 2.0 && (a.y - b.y).abs() < (a.h + b.h) / 2.0
}

#[test]
fn drawings_are_complete_and_nothing_overlaps() {
    for genotype in (0..500).map(random).chain([duplicates()]) {
        for kind in CellKind::ALL {
            let cell = genotype.cell(kind);
            let drawn = layout(cell);
            let mut labels: Vec<_> = cell.iter().flatten().map(|pair| pair.primitive).collect();
            let mut found: Vec<_> = drawn
                .items
                .iter()
                .filter_map(|item| match item.kind {
                    ItemKind::Label(primitive) => Some(primitive),
                    _ => None,
                })
                .collect();
            labels.sort();
            found.sort();
            assert_eq!(labels, found);
            assert_eq!(drawn.items.len(), 8 + 7);
            // Each label has an arrow into it and one out of it, and each node has an arrow to the output.
            assert_eq!(drawn.arrows.len(), 2 * 8 + 4);
            for (i, a) in drawn.items.iter().enumerate() {
                assert!(drawn.items[..i].iter().all(|b| !overlap(a, b)), "{genotype}");
                assert!(a.x - a.w / 2.0 >= 0.0 && a.x + a.w / 2.0 <= drawn.width);
                assert!(a.y - a.h / 2.0 >= 0.0 && a.y + a.h / 2.0 <= drawn.height);
            }
            // Lines run to the right, and pass the boxes of a layer above or below.
            for arrow in &drawn.arrows {
                assert!(arrow.points.is_sorted_by(|a, b| a.0 <= b.0));
                for flat in arrow.points.windows(2).filter(|p| p[0].1 == p[1].1) {
                    let crosses = |item: &&Item| {
                        flat[0].0 < item.x && item.x < flat[1].0 && (flat[0].1 - item.y).abs() < item.h / 2.0
                    };
                    assert!(!drawn.items.iter().any(|item| crosses(&item)), "{genotype}");
                }
            }
        }
    }
}

#[test]
fn svg_is_valid_and_the_same_every_time() {
    for genotype in (0..20).map(random).chain([duplicates()]) {
        let svg = cells_svg(&genotype);
        assert_eq!(svg, cells_svg(&genotype));
        parse(&svg);
        for primitive in Primitive::ALL {
            let used = [genotype.normal, genotype.reduce]
                .iter()
                .flatten()
                .flatten()
                .filter(|p| p.primitive == primitive)
                .count();
            assert_eq!(svg.matches(&format!(">{}<", primitive.name())).count(), used);
        }
    }
    // Captions are any text.
    let sheet = sheet_svg(&[("<a> & \"b\" \u{0}\n".into(), random(1)), (String::new(), random(2))]);
    assert!(parse(&sheet).size().height() > parse(&cells_svg(&random(1))).size().height());
}

#[test]
fn png_has_the_drawing_s_size_and_ink() {
    let svg = cells_svg(&named("DARTS_V2").unwrap());
    let size = parse(&svg).size();
    let picture = image::load_from_memory(&png(&svg, 2.0).unwrap()).unwrap().to_rgb8();
    assert_eq!(picture.dimensions(), (2 * size.width() as u32, 2 * size.height() as u32));
    let dark = picture.pixels().filter(|p| p.0.iter().all(|&c| c < 100)).count();
    // Text needs the bundled font. Without the font only the lines would be drawn.
    let without_text: String = svg.lines().filter(|l| !l.starts_with("<text")).collect();
    let plain = image::load_from_memory(&png(&without_text, 2.0).unwrap()).unwrap().to_rgb8();
    let dark_plain = plain.pixels().filter(|p| p.0.iter().all(|&c| c < 100)).count();
    assert!(dark > dark_plain + 2000, "{dark} {dark_plain}");
    assert!(png("<svg", 1.0).is_err());
    assert!(png(&svg, 1e6).is_err());
}

#[test]
fn dot_has_every_arrow() {
    let genotype = duplicates();
    let dot = cells_dot(&genotype);
    assert_eq!(dot.matches('{').count(), dot.matches('}').count());
    assert_eq!(dot.matches("[label=\"skip_connect\"]").count(), 16);
    assert_eq!(dot.matches("-> normal_output").count(), 4);
    assert!(dot.contains("    normal_input_1 -> normal_node_3 [label=\"skip_connect\"];"));
    assert!(dot.lines().all(|l| l.ends_with(['{', '}', ';'])));
}

#[test]
fn plots_are_valid_whatever_the_numbers() {
    let series = |points: &[(f64, f64)]| Series::new("ess <1>", points.to_vec());
    let panel = |series: Vec<Series>| Panel {
        title: "T & t".into(),
        x_label: "step".into(),
        y_label: "nats".into(),
        series,
    };
    let all = [
        vec![],
        vec![series(&[])],
        vec![series(&[(0.0, 1.0)])],
        vec![
            series(&[(0.0, f64::NAN), (1.0, f64::INFINITY), (2.0, 3.0)]),
            series(&[(0.0, -1e308), (1.0, 1e308)]),
        ],
        vec![series(&[(0.0, 1e-30), (1.0, 2e-30)])],
        vec![series(&[(1.0, 5.0), (100.0, 5.0)])],
    ];
    for list in &all {
        let svg = panels_svg(&[panel(list.clone())]);
        parse(&svg);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
    let svg = panels_svg(&[panel(vec![series(&[(0.0, 0.0), (100.0, 8.0)])])]);
    for tick in ["20", "40", "100", "2", "4", "8"] {
        assert!(svg.contains(&format!(">{tick}</text>")), "{tick}");
    }
    parse(&panels_svg(&[]));
    assert_eq!(parse(&panels_svg(&all.map(panel))).size().width(), 920.0);
}

#[test]
fn the_prior_is_drawn_slot_by_slot() {
    let space = Darts::default();
    let mut prior = Prior::uniform(&space);
    // This logit is in the second slot of node 4 of the reduction cell.
    prior.logits[8 + 2 * 2 + 1][5] = 4.0;
    let svg = prior_svg(&space, &prior);
    parse(&svg);
    // There is a field per pair, a frame per slot, and the white background.
    assert_eq!(svg.matches("<rect").count(), 392 + 16 + 1);
    let p = prior.probabilities()[8 + 2 * 2 + 1][5];
    assert_eq!(svg.matches(&format!(">{:.0}</text>", 100.0 * p)).count(), 1);
}

#[test]
fn show_counts_and_draws() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| Some(folder.path().join(name));
    let args = ShowArgs {
        target: "DARTS_V2".into(),
        json: true,
        auxiliary: true,
        svg: file("cells.svg"),
        png: file("cells.png"),
        dot: file("cells.dot"),
        ..Default::default()
    };
    let json: serde_json::Value = serde_json::from_str(&describe(&args, None).unwrap()).unwrap();
    assert_eq!(json["parameters"], 3_349_342);
    assert_eq!(json["auxiliary_parameters"], 476_426);
    assert!(json["macs"].as_u64().unwrap() > 500_000_000);
    let mut names: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["cells.dot", "cells.png", "cells.svg"]);

    let search =
        ShowArgs { target: "DARTS_V2".into(), network: Some(NetworkKind::Search), ..Default::default() };
    let text = describe(&search, None).unwrap();
    assert!(text.contains("1,930,618 of the parent") && text.starts_with("Genotype("), "{text}");
    // The plan of a training has the batch of the DARTS implementation, unless another batch is given.
    let training = |batch, memory| {
        let args = ShowArgs { json: true, batch, memory, ..search.clone() };
        let json: serde_json::Value = serde_json::from_str(&describe(&args, None).unwrap()).unwrap();
        ["batch", "arena_bytes", "launches", "flops"].map(|key| json[key].as_u64().unwrap())
    };
    let (usual, low) = (training(None, None), training(Some(64), Some(Memory::Low)));
    assert_eq!(usual[0], 64);
    assert!(low[1] < usual[1] / 2 && low[2] > usual[2] && low[3] > usual[3], "{usual:?} {low:?}");
    assert!(text.contains(&format!("64 images at once: {:.1} MiB", usual[1] as f64 / 1048576.0)), "{text}");
    let none = ShowArgs { batch: Some(0), ..search.clone() };
    assert_eq!(describe(&none, None).unwrap_err().exit_code(), 2);
    let lost = ShowArgs { svg: file("missing/cells.svg"), ..search.clone() };
    assert_eq!(describe(&lost, None).unwrap_err().exit_code(), 1);
    let sampled = ShowArgs { samples: Some(2), ..search };
    assert_eq!(describe(&sampled, None).unwrap_err().exit_code(), 2);
}

#[test]
fn show_reads_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let args = ShowArgs { target: folder.path().to_string_lossy().into_owned(), ..Default::default() };
    assert_eq!(describe(&args, None).unwrap_err().exit_code(), 1);
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("genotype.txt", &named("DARTS_V1").unwrap().to_string());
    assert!(describe(&args, None).unwrap_err().to_string().contains("config.toml"));
    write("config.toml", "layers = 5\nchannels = 8\n");
    write("manifest.json", r#"{"data": {"channels": 1, "height": 28, "width": 28, "n_classes": 7}}"#);
    let space: Arc<dyn Space> = Arc::new(Darts::default());
    let prior = Prior::uniform(&*space);
    let sampled = ShowArgs { samples: Some(2), ..args.clone() };
    // The entropy is 2 ln(14 · 21 · 28 · 35) nats per kind of cell.
    let text = describe(&sampled, Some(&(space.clone(), prior.clone()))).unwrap();
    assert!(text.contains("5 cells, 8 channels, 7 classes, images 1x28x28"), "{text}");
    assert!(
        text.contains("entropy 25.14 of 25.14 nats") && text.contains("sample 2, log p = -50.28"),
        "{text}"
    );
    let json = describe(&ShowArgs { json: true, ..args.clone() }, Some(&(space, prior))).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["probabilities"]["reduce"][3][1].as_array().unwrap().len(), 35);
    write("config.toml", "layers = = 5");
    let error = describe(&args, None).unwrap_err();
    assert!(error.exit_code() == 1 && error.to_string().contains("config.toml at byte"), "{error}");
}

/// A prior whose logits differ from pair to pair.
fn uneven(space: &dyn Space) -> Prior {
    let mut prior = Prior::uniform(space);
    let logits = prior.logits.iter_mut().flatten();
    for (i, logit) in logits.enumerate() {
        *logit = ((i * 29) % 31) as f64 / 10.0;
    }
    prior
}

/// Metrics of a search and of a training, with the numbers that are drawn.
fn metrics() -> [(&'static str, String); 2] {
    let search = |step: u32| {
        let (x, evaluated) = (f64::from(step), step.is_multiple_of(4));
        let mut line = serde_json::json!({
            "step": step, "accuracy": x / 16.0, "train_accuracy": x / 20.0, "train_loss": 2.5 - x / 8.0,
            "entropy": { "normal": 20.5 - x, "reduce": 20.5 - x / 2.0 }, "ess": 1.0 + f64::from(step % 5),
        });
        if evaluated {
            line["mode_accuracy"] = (x / 32.0).into();
        }
        line
    };
    let train = |step: u32| {
        let (x, evaluated) = (f64::from(step), step.is_multiple_of(4));
        let mut line = serde_json::json!({
            "step": step, "accuracy": x / 16.0, "loss": 2.5 - x / 8.0, "lr": 0.025 * (12.0 - x) / 12.0,
        });
        if evaluated {
            line["held_out_accuracy"] = (x / 32.0).into();
            line["held_out_loss"] = (2.75 - x / 16.0).into();
        }
        line
    };
    let lines =
        |line: &dyn Fn(u32) -> serde_json::Value| (1..=12).map(|i| format!("{}\n", line(i))).collect();
    [("search", lines(&search)), ("train", lines(&train))]
}

#[test]
fn drawings_are_as_they_were() {
    let genotype = named("DARTS_V2").unwrap();
    golden::check("cells-darts_v2.svg", &cells_svg(&genotype));
    golden::check("cells-darts_v2.dot", &cells_dot(&genotype));
    let space = Darts::default();
    golden::check("prior.svg", &prior_svg(&space, &uneven(&space)));
    golden::check("flow-cells.svg", &flow_svg(&space, &uneven(&space).probabilities()));
    let chain = parsec_nas::space::space("macro", &Default::default()).unwrap();
    golden::check("flow-chain.svg", &flow_svg(&*chain, &uneven(&*chain).probabilities()));
    let folder = tempfile::tempdir().unwrap();
    for (kind, lines) in metrics() {
        let path = folder.path().join("metrics.jsonl");
        std::fs::write(&path, lines).unwrap();
        golden::check(&format!("curves-{kind}.svg"), &metrics_svg(&path).unwrap().unwrap());
    }
}
