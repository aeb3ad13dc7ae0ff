//! Genotypes as people have them: published names, logs, Python, JSON. Also the texts that are refused, and the errors.

use std::path::Path;
use std::process::Command;

use parsec_nas::Error;
use parsec_nas::config::TrainConfig;
use parsec_nas::rng::{Purpose, stream};
use parsec_nas::space::genotype::{NAMES, named};
use parsec_nas::space::published::PUBLISHED;
use parsec_nas::space::{
    CellKind, Chain, Darts, Genotype, NetworkKind, Prior, Space, StemKind, read_architecture, read_genotype,
    remark, space_of, text_of,
};
use proptest::prelude::*;
use tempfile::TempDir;

use super::nets::Cells;

fn v2() -> Genotype {
    named("DARTS_V2").unwrap()
}

/// A genotype of all eight primitives.
fn drawn(seed: u64) -> Genotype {
    let space = Darts::all();
    space.genotype(&Prior::uniform(&space).sample(&mut stream(seed, Purpose::Test, 0, 0)))
}

fn write(folder: &TempDir, name: &str, bytes: impl AsRef<[u8]>) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path.to_string_lossy().into_owned()
}

fn parsec(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parsec"));
    let out = command.args(args).current_dir(folder).env_remove("PARSEC_DEVICE").output().unwrap();
    let utf8 = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), utf8(out.stdout), utf8(out.stderr))
}

// Published names

/// Parameters and multiply-adds, in millions, of networks of 20 cells and 36 channels as others counted them. Sources:
/// github.com/lightaime/sgas (`cnn/genotypes.py`), github.com/NivNayman/XNAS (README, XNAS-Plain) and
/// github.com/xiaomi-automl/FairDARTS (`fairdarts/genotypes.py`, which cuts digits off instead of rounding).
#[test]
fn published_genotypes_have_the_sizes_that_others_counted() {
    let network = Cells {
        kind: NetworkKind::Final,
        stem: StemKind::Cifar,
        in_channels: 3,
        height: 32,
        width: 32,
        n_classes: 10,
        layers: 20,
        channels: 36,
        auxiliary: false,
    };
    for (name, parameters, macs) in [
        ("SGAS_CRI1", 3.80, None),
        ("SGAS_CRI2", 4.09, None),
        ("SGAS_CRI2_IMAGE", 3.91, None),
        ("XNAS", 3.8, None),
        ("GDAS_V1", 3.36, Some(519)),
        ("PDARTS", 3.43, Some(532)),
        ("PC_DARTS_CIFAR", 3.63, None),
        ("MDENAS", 3.78, Some(599)),
        ("SNAS_MILD", 2.66, Some(422)),
    ] {
        let genotype = named(name).unwrap();
        let counted = network.child_parameter_count(&genotype) as f64 / 1e6;
        assert!((counted - parameters).abs() < 0.01, "{name}: {counted}, expected {parameters}");
        assert!(macs.is_none_or(|macs| network.macs(&genotype) / 1_000_000 == macs), "{name}");
    }
}

#[test]
fn published_genotypes_have_names_and_sources() {
    assert_eq!(NAMES[..3], ["DARTS_V1", "DARTS_V2", "PC_DARTS_CIFAR"]);
    let mut all: Vec<&str> = PUBLISHED.iter().flat_map(|p| p.also.iter().copied().chain([p.name])).collect();
    for published in &PUBLISHED {
        assert!(published.source.starts_with("arXiv:") && published.source.contains("; github.com/"));
        let genotype = published.genotype();
        assert_eq!(Genotype::parse(&genotype.to_string()).as_ref(), Ok(&genotype));
        assert_eq!(Darts::default().alpha(&genotype).map(|_| ()).ok(), Some(()), "{}", published.name);
        for name in published.also.iter().chain([&published.name]) {
            assert_eq!(named(name).as_ref(), Some(&genotype));
            assert_eq!(named(&name.to_lowercase().replace('_', "-")).as_ref(), Some(&genotype));
            assert_eq!(space_of(name), "darts");
        }
    }
    let n = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), n, "each name stands for one genotype");
    let mut genotypes = PUBLISHED.map(|p| p.genotype()).to_vec();
    genotypes.sort();
    genotypes.dedup();
    assert_eq!(genotypes.len(), NAMES.len());
}

/// The text of two genotypes in the form of their repositories, term by term.
#[test]
fn published_genotypes_are_those_of_the_repositories() {
    let gdas = "Genotype(normal=[(('skip_connect', 0), ('skip_connect', 1)), (('skip_connect', 0), ('sep_conv_5x5', 2)), \
                (('sep_conv_3x3', 3), ('skip_connect', 0)), (('sep_conv_5x5', 4), ('sep_conv_3x3', 3))], \
                normal_concat=[2, 3, 4, 5], reduce=[(('sep_conv_5x5', 0), ('sep_conv_3x3', 1)), \
                (('sep_conv_5x5', 2), ('sep_conv_5x5', 1)), (('dil_conv_5x5', 2), ('sep_conv_3x3', 1)), \
                (('sep_conv_5x5', 0), ('sep_conv_5x5', 1))], reduce_concat=[2, 3, 4, 5], connectN=None, connects=None)";
    assert_eq!(read_genotype(gdas).ok(), named("gdas"));
    let pdarts = "PDARTS = Genotype(normal=[('skip_connect', 0), ('dil_conv_3x3', 1), ('skip_connect', 0),\
                  ('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('sep_conv_3x3', 3), ('sep_conv_3x3',0), \
                  ('dil_conv_5x5', 4)], normal_concat=range(2, 6), reduce=[('avg_pool_3x3', 0), ('sep_conv_5x5', 1), \
                  ('sep_conv_3x3', 0), ('dil_conv_5x5', 2), ('max_pool_3x3', 0), ('dil_conv_3x3', 1), \
                  ('dil_conv_3x3', 1), ('dil_conv_5x5', 3)], reduce_concat=range(2, 6))";
    assert_eq!(read_genotype(pdarts).ok(), named("P-DARTS"));
    assert_eq!(Genotype::parse(pdarts).ok(), named("pdarts"));
}

// Accepted forms

/// How a genotype may be written.
#[derive(Clone, Debug)]
struct Form {
    quote: char,
    nested: bool,
    object: bool,
    lists: bool,
    int: usize,
    concat: usize,
    weights: bool,
    comments: bool,
}

impl Form {
    fn text(&self, genotype: &Genotype) -> String {
        let quoted = |name: &str| format!("{0}{name}{0}", self.quote);
        let brackets = |items: Vec<String>, list: bool| {
            let items = items.join(if self.comments { ",  # (pair ')\n  " } else { ", " });
            if list { format!("[{items}]") } else { format!("({items})") }
        };
        let int = |i: usize| {
            [format!("{i}"), format!("np.int64({i})"), format!("numpy.int32( {i} )")][self.int].clone()
        };
        let cell = |kind: CellKind| {
            let pairs: Vec<String> = genotype
                .cell(kind)
                .iter()
                .flatten()
                .map(|pair| {
                    let mut parts = vec![quoted(pair.primitive.name()), int(pair.input)];
                    parts.extend(self.weights.then(|| "0.13017432391643524".to_owned()));
                    let inside = parts.join(", ");
                    if self.lists { format!("[{inside}]") } else { format!("({inside})") }
                })
                .collect();
            let nodes = pairs.chunks(2).map(|node| brackets(node.to_vec(), self.lists)).collect();
            brackets(if self.nested { nodes } else { pairs }, true)
        };
        let concat =
            ["[2, 3, 4, 5]", "range(2, 6)", "list(range(2, 6))", "(2, np.int64(3), 4, 5,)", "range(2, 6, 1)"];
        let concat = concat[self.concat];
        let fields = [
            ("normal", cell(CellKind::Normal)),
            ("normal_concat", concat.to_owned()),
            ("reduce", cell(CellKind::Reduce)),
            ("reduce_concat", concat.to_owned()),
        ];
        let field = |(name, value): &(&str, String)| {
            if self.object { format!("{}: {value}", quoted(name)) } else { format!("{name}={value}") }
        };
        let fields: Vec<String> = fields.iter().map(field).collect();
        let fields = fields.join(if self.comments { ", # cell\n" } else { ", " });
        if self.object { format!("{{{fields}}}") } else { format!("Genotype({fields})") }
    }
}

fn forms() -> impl Strategy<Value = Form> {
    (any::<[bool; 6]>(), 0..3_usize, 0..5_usize).prop_map(
        |([double, nested, object, lists, weights, comments], int, concat)| Form {
            quote: if double { '"' } else { '\'' },
            nested,
            object,
            lists,
            int,
            concat,
            weights,
            comments,
        },
    )
}

const N_SURROUNDINGS: usize = 9;

/// The genotype `text` with other content around it.
fn surrounded(text: &str, how: usize) -> String {
    let other = v2();
    match how {
        0 => format!("\u{feff}{text}"),
        1 => format!("12/10 01:23:45 PM genotype = {text}\n"),
        2 => format!(
            "12/10 01:00:00 PM gpu device = 0\n12/10 01:00:01 PM args = Namespace(arch='DARTS', data='../data')\n\
             12/10 01:23:45 PM genotype = {other}\n12/10 01:24:00 PM train 000 2.3 (it's #1)\n\
             12/10 02:23:45 PM genotype = {text}\n12/10 02:24:00 PM valid_acc 71.2\n"
        ),
        3 => format!("# found on my own data\nBEST = {text}\n"),
        4 => format!(
            "from collections import namedtuple\n\nGenotype = namedtuple('Genotype', 'normal normal_concat reduce')\n\
             \nDARTS_V2 = {other}\nBEST = {text}  # better than {other}\n# OLD = {other}\nDARTS = BEST\n\n\
             def of(d):  # Genotype(...)\n  g = Genotype(normal=cells(d['normal']), reduce=d)\n  return Genotype(**g)\n"
        ),
        5 => format!("{text}\n").replace('\n', "\r\n"),
        6 => format!("the best so far: {text}, found in epoch 12"),
        7 => format!("<<<--->>> The 049-050-th epoch : {text}\n[2020-01-01-00:00:00] {{ 'lr': 0.1 }}\n"),
        _ => text.to_owned(),
    }
}

proptest! {
    #[test]
    fn a_genotype_survives_what_people_write_around_it(
        seed in any::<u64>(), form in forms(), how in 0..N_SURROUNDINGS
    ) {
        let genotype = drawn(seed);
        let core = form.text(&genotype);
        prop_assert_eq!(&Genotype::parse(&core).unwrap(), &genotype, "{}", core);
        let text = surrounded(&core, how);
        prop_assert_eq!(read_genotype(&text).map_err(|e| e.to_string()), Ok(genotype), "{}", text);
        prop_assert_eq!(space_of(&text_of(&text).unwrap()), "darts");
        prop_assert_eq!(remark(&text).is_some(), how == 2 || how == 4, "{}", text);
    }

    /// Damage in every form: no panic, and an error that names a place of the text.
    #[test]
    fn damaged_surroundings_never_panic(
        seed in 0u64..50, form in forms(), how in 0..N_SURROUNDINGS, at in 0usize..3000, len in 0usize..40,
        put in "[\\[\\](){}'\"\\\\#:, é0-9a-zG=.\n]{0,6}", twice in any::<bool>()
    ) {
        let good = surrounded(&form.text(&drawn(seed)), how);
        let boundary = |mut at: usize| { while !good.is_char_boundary(at) { at -= 1 } at };
        let start = boundary(at % (good.len() + 1));
        let end = boundary((start + len).min(good.len()));
        let text = format!("{}{put}{}{}", &good[..start], &good[end..], if twice { &good } else { "" });
        let folder = TempDir::new().unwrap();
        let path = write(&folder, "damaged", &text);
        match read_genotype(&path) {
            Ok(genotype) => prop_assert_eq!(Genotype::parse(&genotype.to_string()).unwrap(), genotype),
            Err(Error::File { offset: Some(offset), expected, found, .. }) => {
                prop_assert!(text.is_char_boundary(offset as usize), "{offset} in {text}");
                prop_assert!(!expected.is_empty() && found.contains("at line"), "{found}");
            }
            Err(e) => prop_assert!(false, "{e}"),
        }
        let _ = (remark(&path), Genotype::parse(&text), Chain::default().parse(&text));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*|([{}()\\[\\]:'\"#\\\\ ,]|Genotype|normal|\n){0,40}") {
        let folder = TempDir::new().unwrap();
        let path = write(&folder, "any", &text);
        prop_assert!(read_genotype(&path).is_err());
        let _ = (remark(&path), text_of(&path));
    }
}

#[test]
fn the_last_genotype_of_a_log_counts() {
    let folder = TempDir::new().unwrap();
    let v1 = named("DARTS_V1").unwrap();
    let mut log = String::from("10/12 09:00:00 AM gpu device = 0\n");
    for epoch in 0..50 {
        log +=
            &format!("10/12 09:00:00 AM epoch {epoch} lr 2.500000e-02\n10/12 09:00:00 AM genotype = {v1}\n");
        log += &format!(
            "10/12 09:10:00 AM train 000 1.0e+00 {epoch}.0\n10/12 09:20:00 AM valid_acc 50.000000\n"
        );
    }
    log += &format!("10/12 09:20:00 AM genotype = {}\n10/12 09:20:01 AM valid_acc 88.1\n", v2());
    let path = write(&folder, "search.log", &log);
    assert_eq!(read_genotype(&path).unwrap(), v2());
    let said = remark(&path).unwrap();
    assert!(said.starts_with(&path) && said.contains("51 architectures"), "{said}");
    assert!(said.contains("in line 202, is read"), "{said}");
    // An error names the place in the whole file.
    let wrong =
        log.clone() + &format!("\ngenotype = {}\n", v2()).replace("dil_conv_3x3', 2", "dil_conv_3x3', 5");
    let error = read_genotype(&write(&folder, "wrong.log", wrong)).unwrap_err().to_string();
    assert!(error.contains("at line 205, column") && error.contains("an input of node 5: 0 to 4"), "{error}");
    // The log ends inside of a genotype, because its writer was stopped.
    let text = v2().to_string();
    for cut in [20, 60, 200, text.len() - 1] {
        let log = format!("{log}10/12 genotype = {}", &text[..cut]);
        let error = read_genotype(&write(&folder, "cut.log", log)).unwrap_err().to_string();
        assert!(
            error.contains("at line 204") && error.contains("the genotype before, in line 202"),
            "{error}"
        );
    }
    // A Python source with names.
    let source = format!("A = {v1}\nclass Genotype(NamedTuple):\n  pass\nB = {}\n# C = {v1}\n", v2());
    let path = write(&folder, "genotypes.py", source);
    assert_eq!(read_genotype(&path).unwrap(), v2());
    assert!(remark(&path).unwrap().contains("2 architectures in the text; the last one, in line 4 (B)"));
    // A comment is read if there is nothing else.
    assert_eq!(read_genotype(&write(&folder, "c.txt", format!("# {v1}\n# {}\n", v2()))).unwrap(), v2());
    assert_eq!(
        read_genotype(&write(&folder, "n.txt", "# the paper's\nDARTS_V2  # second order\n")).unwrap(),
        v2()
    );
}

#[test]
fn json_is_read() {
    let folder = TempDir::new().unwrap();
    let v1 = named("DARTS_V1").unwrap().to_string();
    let cell = |kind: CellKind| -> Vec<serde_json::Value> {
        v2().cell(kind).iter().flatten().map(|p| serde_json::json!([p.primitive.name(), p.input])).collect()
    };
    let object = serde_json::json!({
        "accuracy": 0.97, "normal": cell(CellKind::Normal), "normal_concat": [2, 3, 4, 5],
        "reduce": cell(CellKind::Reduce), "reduce_concat": [2, 3, 4, 5], "of": {"x": [1, {"y": "]"}]},
    });
    let mut deep = object.clone();
    deep.as_object_mut().unwrap().remove("accuracy");
    let result = serde_json::json!({"evidence": {"genotype": v1}, "genotype": v2().to_string(), "mode": v1});
    let escaped = serde_json::json!({"genotype": v2().to_string().replace('\'', "\"")});
    for value in [
        object.clone(),
        serde_json::json!({"genotype": object}),
        serde_json::json!({"spec": object, "x": {"normal_concat": []}}),
        serde_json::json!({"runs": [{"x": 1}, {"found": [deep]}]}),
        result,
        escaped.clone(),
        serde_json::json!({"genotype": "DARTS_V2"}),
    ] {
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap() + "\n"] {
            assert_eq!(read_genotype(&text).map_err(|e| e.to_string()), Ok(v2()), "{text}");
            let path = write(&folder, "g.json", format!("\u{feff}{text}"));
            assert_eq!(read_genotype(&path).unwrap(), v2());
            assert_eq!((space_of(&text_of(&path).unwrap()), remark(&path)), ("darts", None));
        }
    }
    // One object per line: the last one.
    let lines = format!("{}\n{}\n", serde_json::json!({"step": 1, "genotype": v1}), escaped);
    let path = write(&folder, "g.jsonl", lines);
    assert_eq!(read_genotype(&path).unwrap(), v2());
    assert!(remark(&path).unwrap().contains("2 architectures in the text; the last one, in line 2,"));
    // A result of a search of chains.
    let chain = Chain::default();
    let text = serde_json::json!({"genotype": "02012100", "mode": "00000000"}).to_string();
    assert_eq!((space_of(&text_of(&text).unwrap()), text_of(&text).unwrap()), ("macro", "02012100".into()));
    assert_eq!(read_architecture(&chain, &text).unwrap(), chain.parse("02012100").unwrap());
    let error =
        read_genotype(&write(&folder, "null.json", "{\n \"genotype\": null}")).unwrap_err().to_string();
    assert!(error.contains("\"null\", at line 2, column 14"), "{error}");
}

#[test]
fn encodings_and_sizes() {
    let folder = TempDir::new().unwrap();
    let text = v2().to_string();
    assert_eq!(read_genotype(&write(&folder, "bom.txt", format!("\u{feff}{text}\r\n"))).unwrap(), v2());
    let colours = format!("\u{1b}[1;32mepoch 3\u{1b}[0m \u{1b}[32m{text}\u{1b}[0m\n");
    assert_eq!(read_genotype(&write(&folder, "colours.log", colours)).unwrap(), v2());
    let wide = |order: fn(u16) -> [u8; 2], mark: &str| -> Vec<u8> {
        format!("{mark}{text}").encode_utf16().flat_map(order).collect()
    };
    for (bytes, encoding) in [
        (wide(u16::to_le_bytes, "\u{feff}"), "UTF-16"),
        (wide(u16::to_be_bytes, "\u{feff}"), "UTF-16"),
        (wide(u16::to_le_bytes, ""), "UTF-16LE"),
        (wide(u16::to_be_bytes, ""), "UTF-16BE"),
    ] {
        let error = read_genotype(&write(&folder, "wide.txt", bytes)).unwrap_err();
        assert!(matches!(error, Error::File { offset: Some(0), .. }), "{error}");
        let said = error.to_string();
        assert!(said.contains(&format!("found text in {encoding}\n")) && said.contains("iconv"), "{said}");
    }
    // A long log is read in reasonable time. A longer file is refused before it is read to its end.
    let line = "10/12 09:00:00 AM train 000 1.000000e+00 50.000000 90.000000 {'lr': 0.1} # Genotype\n";
    let mut log = line.repeat((64 << 20) / line.len() - 100);
    log += &format!("genotype = {text}\n");
    assert!((63 << 20..=64 << 20).contains(&log.len()));
    assert_eq!(read_genotype(&write(&folder, "long.log", &log)).unwrap(), v2());
    let path = write(&folder, "sparse", "");
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    let error = read_genotype(&path).unwrap_err().to_string();
    assert!(error.contains("more than 64 MiB") && error.contains("the end of a log"), "{error}");
}

/// Texts that open the same bracket or quote again and again. The time grows with the length, not with its square.
#[test]
fn long_nonsense_is_refused_soon() {
    for piece in [
        "{",
        "[",
        "(",
        "'",
        "\"",
        "#",
        "{'normal':",
        "Genotype(",
        "{\"a\":",
        "# Genotype(\n",
        "Genotype (#",
        "'\"",
        "G{#",
        "{ '",
        "\\",
    ] {
        let text = piece.repeat((1 << 20) / piece.len());
        assert!(read_genotype(&text).is_err());
        assert!(read_genotype(&format!("Genotype(normal=[{text}")).is_err());
        assert!(read_genotype(&format!("{{\"genotype\": \"{text}")).is_err());
    }
}

// Near misses

/// The error for `text` and what it must say.
fn refused(text: &str, parts: &[&str]) {
    let error = read_genotype(text).expect_err(text);
    assert_eq!(error.exit_code(), 2, "{error}");
    let said = error.to_string();
    assert!(parts.iter().all(|part| said.contains(part)), "{parts:?} in\n{said}");
}

/// A genotype whose normal cell has these pairs, and whose reduction cell is that of DARTS_V2.
fn with_normal(pairs: &str) -> String {
    let text = v2().to_string();
    let (start, end) = (text.find('[').unwrap(), text.find("], normal_concat").unwrap());
    format!("{}{pairs}{}", &text[..=start], &text[end..])
}

#[test]
fn near_misses_are_explained() {
    let good = v2().to_string();
    let change = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    };
    let s = "('sep_conv_3x3', 0), ('skip_connect', 1)";
    let flat = |n: usize| vec![s; n].join(", ");
    refused(
        &with_normal(&format!("{}, ('sep_conv_3x3', 0)", flat(3))),
        &["eight pairs", "7 pairs in the normal cell", "two"],
    );
    refused(
        &with_normal(&flat(5)),
        &["after eight pairs", "a ninth pair", "exactly two pairs", "five nodes"],
    );
    let nested = |node: &str| with_normal(&format!("({s}), ({s}), ({node}), ({s})"));
    refused(
        &nested(&format!("{s}, ('max_pool_3x3', 2)")),
        &["two pairs for node 4 of the normal cell", "found 3 pairs", "sums exactly two"],
    );
    refused(&nested("('sep_conv_3x3', 0),"), &["two pairs for node 4 of the normal cell", "found one pair"]);
    refused(&nested(""), &["two pairs for node 4", "found 0 pairs"]);
    refused(
        &with_normal(&vec![format!("[{s}]"); 5].join(", ")),
        &["four nodes", "a fifth node", "five nodes"],
    );
    refused(&with_normal(&vec![format!("[{s}]"); 3].join(", ")), &["eight pairs", "6 pairs"]);
    refused(&with_normal(""), &["eight pairs", "0 pairs"]);
    refused(
        &change("('dil_conv_3x3', 2)", "('dil_conv_3x3', 5)"),
        &["an input of node 5: 0 to 4", "found \"5\"", "two cells before"],
    );
    refused(
        &change("('dil_conv_3x3', 2)", "('dil_conv_3x3', np.int64(7))"),
        &["an input of node 5: 0 to 4", "found \"np\""],
    );
    refused(&change("('dil_conv_3x3', 2)", "('dil_conv_3x3', 0.5)"), &["`)`", "found \".\""]);
    // Of FairDARTS: the node before the input.
    refused(
        &change("('sep_conv_3x3', 0)", "('sep_conv_3x3', 2, 0)"),
        &["a weight with a decimal point", "FairDARTS", "leave out the node"],
    );
    for (wrong, nearest) in [
        ("dil_conv_3x4", "dil_conv_3x3"),
        ("sep_conv_7x7", "sep_conv_"),
        ("skipconnect", "skip_connect"),
        ("nor_conv_3x3", "dil_conv_3x3"),
        ("conv_7x1_1x7", "the nearest operation of this space"),
        ("zero", "try: none"),
        ("max_pool_5x5", "max_pool_3x3"),
        ("identity", "try: skip_connect, the nearest operation"),
    ] {
        refused(
            &change("dil_conv_3x3", wrong),
            &["a primitive: none, max_pool_3x3", &format!("{wrong:?}, which is not in this space"), nearest],
        );
    }
    for concat in [
        "[2, 3, 4]",
        "[3, 4, 5]",
        "[5, 4, 3, 2]",
        "range(2, 5)",
        "range(3, 6)",
        "list(range(2, 7))",
        "[2, 3, 4, 5, 6]",
        "[]",
        "range(2, 6, 2)",
    ] {
        let parts = [concat, "[2, 3, 4, 5] or range(2, 6)", "not in the space", "put out all four nodes"];
        refused(&change("[2, 3, 4, 5]", concat), &parts);
    }
    refused(&change("[2, 3, 4, 5]", "set(2)"), &["[2, 3, 4, 5] or range(2, 6)", "\"set\""]);
    refused(&change(", reduce_concat=[2, 3, 4, 5]", ""), &["reduce_concat=[...] as well"]);
    refused(&change("reduce=", "reduction="), &["reduce=", "\"reduction\""]);
    refused("{'normal': [('sep_conv_3x3', 0)]}", &["eight pairs", "1 pairs"]);
    refused("normal=[('sep_conv_3x3', 0)]", &["`Genotype(`"]);
    refused(
        "12/10 no genotype\n12/10 in this log\n",
        &["`Genotype(`", "a text of several lines without a genotype"],
    );
    refused("DARTS_V3", &["`Genotype(`", "try: DARTS_V", "the published names are"]);
    refused("GDARTS", &["the published names are DARTS_V1"]);
    // An operation that does nothing, in a space without it.
    let none = change("('dil_conv_3x3', 2)", "('none', 2)");
    assert!(read_genotype(&none).is_ok(), "the space of all primitives has it");
    let error = read_architecture(&Darts::default(), &none).unwrap_err().to_string();
    for part in
        ["('none', 2) at node 5 of the normal cell, which computes nothing", "another operation there"]
    {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn architectures_of_other_spaces_are_named() {
    let amoeba = "AmoebaNet = Genotype(\n  normal = [\n    ('avg_pool_3x3', 0),\n    ('max_pool_3x3', 1),\n    ('sep_conv_3x3', 0),\n    \
                  ('sep_conv_5x5', 2),\n    ('sep_conv_3x3', 0),\n    ('avg_pool_3x3', 3),\n    ('sep_conv_3x3', 1),\n    \
                  ('skip_connect', 1),\n    ('skip_connect', 0),\n    ('avg_pool_3x3', 1),\n    ],\n  normal_concat = [4, 5, 6],\n  \
                  reduce = [\n    ('avg_pool_3x3', 0),\n    ('sep_conv_3x3', 1),\n    ('max_pool_3x3', 0),\n    \
                  ('sep_conv_7x7', 2),\n    ('sep_conv_7x7', 0),\n    ('avg_pool_3x3', 1),\n    ('max_pool_3x3', 0),\n    \
                  ('max_pool_3x3', 1),\n    ('conv_7x1_1x7', 0),\n    ('sep_conv_3x3', 5),\n  ],\n  reduce_concat = [3, 4, 6]\n)\n";
    refused(
        amoeba,
        &["a ninth pair", "sep_conv_7x7, conv_7x1_1x7, not in this space", "at line 11, column 5"],
    );
    let nested = "{'normal': [(('sep_conv_3x3', 0), ('skip_connect', 1)), (('sep_conv_3x3', 0), ('conv_3x1_1x3', 1))]}";
    refused(nested, &["\"conv_3x1_1x3\", which is not in this space", "a primitive: none"]);
    for (name, reason) in [
        ("AmoebaNet", "conv_7x1_1x7"),
        ("nasnet", "sep_conv_7x7"),
        ("ENAS", "five nodes"),
        ("SETN", "conv_3x1_1x3"),
    ] {
        refused(name, &["a genotype of this space", "not in the space", reason]);
        assert_eq!(space_of(name), "darts");
    }
    // A chain for the space of cells, and the reverse.
    refused(
        "02112100",
        &["`Genotype(`", "found \"02112100\", an architecture of the space macro", "try: --space macro"],
    );
    refused("identity,mb3_k3", &["an architecture of the space macro"]);
    for text in ["DARTS_V2", &v2().to_string(), "{'normal': 1}", "PDARTS"] {
        let error = read_architecture(&Chain::default(), text).unwrap_err();
        let said = error.to_string();
        assert!(
            error.exit_code() == 2 && said.contains("try: --space darts, to which the text belongs"),
            "{said}"
        );
    }
    let folder = TempDir::new().unwrap();
    let (code, _, err) = parsec(folder.path(), &["show", "--space", "darts", "02112100"]);
    assert!(code == 2 && err.contains("try: --space macro, or no --space"), "{err}");
    let (code, _, err) = parsec(folder.path(), &["show", "--space", "macro", "DARTS_V2"]);
    assert!(code == 2 && err.contains("try: --space darts"), "{err}");
}

// The program

#[test]
fn the_program_reads_its_own_output_and_says_which_genotype_it_takes() {
    let folder = TempDir::new().unwrap();
    let place = folder.path();
    let genotype = |args: &[&str]| -> (String, String) {
        let (code, out, err) = parsec(place, args);
        assert_eq!(code, 0, "{err}");
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        (value["genotype"].as_str().unwrap().to_owned(), err)
    };
    let (_, out, _) = parsec(place, &["show", "pdarts", "--json"]);
    write(&folder, "shown.json", out);
    let pdarts = named("PDARTS").unwrap().to_string();
    assert_eq!(genotype(&["show", "shown.json", "--json"]), (pdarts.clone(), String::new()));
    write(&folder, "log.txt", surrounded(&pdarts, 2));
    let (read, err) = genotype(&["show", "log.txt", "--json"]);
    assert_eq!(read, pdarts);
    assert_eq!(err, "warning: log.txt: 2 architectures in the text; the last one, in line 5, is read\n");
    let (_, out, _) = parsec(place, &["show", "02112100", "--json"]);
    write(&folder, "chain.json", out);
    assert_eq!(genotype(&["show", "chain.json", "--json"]).0, "02112100");
    // A training prints the same remark, and its configuration has the genotype only.
    let log = place.join("log.txt").to_string_lossy().into_owned();
    let flags = [("genotype".to_owned(), log.clone().into())].into_iter().collect();
    let config = TrainConfig::resolve(None, None, &flags).unwrap();
    assert_eq!(config.remarks.0.len(), 1);
    assert!(config.remarks.0[0].contains("in line 5") && config.network.space == "darts");
}
