//! The program as a process: exit codes, output streams, suggestions.

use std::path::Path;
use std::process::{Command, Output};

use clap::CommandFactory;
use parsec_nas::cli::Cli;
use parsec_nas::config::{Config, Resolved, keys::keys};
use parsec_nas::files::tensors::Tensor;
use parsec_nas::run::{Manifest, RunDir};
use tempfile::TempDir;

use super::golden;

fn parsec(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parsec"));
    command.args(args).current_dir(folder).env_remove("PARSEC_DEVICE").output().unwrap()
}

/// Runs the program in an empty folder: exit code, standard output, standard error.
fn outcome(args: &[&str]) -> (i32, String, String) {
    let folder = TempDir::new().unwrap();
    let out = parsec(folder.path(), args);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{args:?} left something behind");
    text(out)
}

fn text(out: Output) -> (i32, String, String) {
    let utf8 = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), utf8(out.stdout), utf8(out.stderr))
}

#[test]
fn help_lists_the_commands_and_every_flag() {
    let (code, out, err) = outcome(&["--help"]);
    assert_eq!((code, err.as_str()), (0, ""));
    for command in [
        "devices",
        "search",
        "resume",
        "show",
        "replay",
        "export",
        "selftest",
        "train",
        "eval",
        "predict",
        "bench",
        "compare",
        "consensus",
        "rank",
        "--device",
        "--json",
        "--quiet",
    ] {
        assert!(out.contains(command), "{command} is not in\n{out}");
    }
    let (code, out, _) = outcome(&["search", "--help"]);
    assert_eq!(code, 0);
    for key in keys(Config::CONCERNS) {
        let flag = format!("--{}", key.name.replace('_', "-"));
        assert!(out.contains(&flag), "{flag} is not in\n{out}");
    }
    assert_eq!(outcome(&["--version"]).1, concat!("parsec ", env!("CARGO_PKG_VERSION"), "\n"));
}

/// The help of each command, for a terminal of 100 columns.
#[test]
fn help_is_as_it_was() {
    let help = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_parsec"));
        let out = command.args(args).arg("--help").env("COLUMNS", "100").env_remove("PARSEC_DEVICE").output();
        let (code, out, err) = text(out.unwrap());
        assert_eq!((code, err.as_str()), (0, ""), "{args:?}");
        // On Windows the name of the program is the name of its file.
        out.replace("parsec.exe", "parsec").replace("\r\n", "\n")
    };
    golden::check("help.txt", &help(&[]));
    let program = Cli::command();
    let commands: Vec<&str> = program.get_subcommands().map(|command| command.get_name()).collect();
    assert!(commands.len() >= 12, "{commands:?}");
    for command in commands {
        golden::check(&format!("help-{command}.txt"), &help(&[command]));
    }
}

#[test]
fn wrong_usage_ends_with_2_and_a_suggestion() {
    for (args, part) in [
        (&["serch"][..], "search"),
        (&[][..], "Usage"),
        (&["search", "--sample", "3"], "--samples"),
        (&["search", "--samples", "many"], "many"),
        (&["search", "--samples", "0"], "from 1 to 4096"),
        (&["search", "--samples", "auto:"], "auto:LAMBDA"),
        (&["search", "--samples", "auto:0"], "--samples"),
        (&["search", "--batch", "32", "--micro-batch", "5"], "--micro-batch 4"),
        (&["search", "--channels", "7"], "even"),
        (&["search", "--lr", "-1"], "--lr"),
        (&["search", "--lr=-1"], "above 0"),
        (&["search", "--seed", "18446744073709551615"], "9223372036854775807"),
        (&["search", "--steps", "3", "--epochs", "1"], "--epochs"),
        (&["search", "--data", "mnist"], "embedded"),
        (&["search", "--temper", "ess:100"], "samples"),
        (&["search", "-q", "-v"], "--verbose"),
        (&["resume"], "RUN"),
        (&["replay", "--layers", "3"], "--genotype"),
        (&["show"], "RUN|GENOTYPE"),
    ] {
        let (code, out, err) = outcome(args);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
        assert!(err.contains(part), "{args:?}: {part:?} is not in: {err}");
    }
}

#[test]
fn a_wrong_key_in_a_file_ends_with_2_and_names_the_line() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("c.toml"), "seed = 3\npriorlr = 0.1\n").unwrap();
    let (code, out, err) = text(parsec(folder.path(), &["search", "c.toml", "--json"]));
    assert_eq!((code, out.as_str()), (2, ""));
    for part in ["error: ", "c.toml, line 2", "`priorlr`", "`prior_lr`"] {
        assert!(err.contains(part), "{part} is not in: {err}");
    }
}

#[test]
fn missing_files_end_with_1() {
    for args in [&["search", "none.toml"][..], &["resume", "runs/none"]] {
        let (code, out, err) = outcome(args);
        assert_eq!((code, out.as_str()), (1, ""), "{err}");
        assert!(err.starts_with("error: ") && err.contains("none"), "{err}");
    }
}

#[test]
fn an_existing_run_is_refused_before_anything_is_read() {
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("taken")).unwrap();
    std::fs::write(folder.path().join("taken/file"), "").unwrap();
    let args = ["search", "--run", "taken", "--data", "idx:nowhere"];
    let (code, _, err) = text(parsec(folder.path(), &args));
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("--run taken") && err.contains("not empty"), "{err}");
}

#[test]
fn resuming_a_finished_run_says_so_and_ends_with_0() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("run");
    let config = Config::preset().unwrap();
    let run = RunDir::create(&path, &config, &Manifest::new(&config).unwrap()).unwrap();
    run.write_result(&serde_json::json!({"accuracy": 0.75})).unwrap();
    drop(run);
    let (code, out, _) = text(parsec(folder.path(), &["resume", "run"]));
    assert_eq!(code, 0);
    assert!(out.contains("is finished"), "{out}");
    let (code, out, _) = text(parsec(folder.path(), &["resume", "run", "--json"]));
    let result: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &result["accuracy"]), (0, &serde_json::json!(0.75)));
}

#[test]
fn a_run_of_another_process_is_refused() {
    let folder = TempDir::new().unwrap();
    let config = Config::preset().unwrap();
    let _run = RunDir::create(&folder.path().join("run"), &config, &Manifest::new(&config).unwrap()).unwrap();
    let (code, _, err) = text(parsec(folder.path(), &["resume", "run"]));
    assert_eq!(code, 1);
    assert!(err.contains("working on it"), "{err}");
}

const GENOTYPE: &str = "DARTS_V2";

#[test]
fn show_counts_a_genotype_as_json() {
    let args =
        ["show", GENOTYPE, "--json", "--layers", "20", "--channels", "36", "--classes", "10", "--size", "32"];
    let (code, out, err) = outcome(&args);
    let counts: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(counts["parameters"], 3_349_342);
}

#[test]
fn show_tells_the_prior_of_a_run() {
    let folder = TempDir::new().unwrap();
    let config = Config::preset().unwrap();
    let run = RunDir::create(&folder.path().join("run"), &config, &Manifest::new(&config).unwrap()).unwrap();
    let (_, genotype, _) = outcome(&["show", GENOTYPE]);
    run.write("genotype.txt", genotype.lines().find(|l| l.contains("Genotype(")).unwrap().as_bytes())
        .unwrap();
    // Without a checkpoint the genotype is shown, but not the prior.
    let (code, out, err) = text(parsec(folder.path(), &["show", "run"]));
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("Genotype(") && err.contains("the prior is not shown"), "{out}{err}");
    let pairs = |node: usize| 2 * 7 * (node + 2);
    let names = ["normal", "reduce"].into_iter().flat_map(|cell| (0..4).map(move |node| (cell, node)));
    let state = names.map(|(cell, node)| {
        (format!("pi.{cell}.{node}"), Tensor::f64(&[2, pairs(node) / 2], vec![0.0; pairs(node)]))
    });
    run.checkpoints().save(0, None, &state.collect()).unwrap();
    let args = ["show", "run", "--samples", "2", "--svg", "cells.svg", "--json"];
    let (code, out, err) = text(parsec(folder.path(), &args));
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok(), "{out}");
    assert!(std::fs::read_to_string(folder.path().join("cells.svg")).unwrap().contains("<svg"));
}

/// Mesa's drivers complain if no folder for sockets is named. This program shows nothing on a screen and needs no such
/// folder.
#[test]
fn drivers_do_not_complain_about_a_session() {
    for value in [None, Some(""), Some("relative")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_parsec"));
        command.arg("devices").env_remove("XDG_RUNTIME_DIR");
        if let Some(value) = value {
            command.env("XDG_RUNTIME_DIR", value);
        }
        let (_, _, err) = text(command.output().unwrap());
        assert!(!err.contains("XDG_RUNTIME_DIR"), "{err}");
    }
}

/// The value of a flag with an optional value must be in the same word (`--flip=false`). A separate word is read as the
/// name of a file.
#[test]
fn a_value_by_itself_and_a_warm_up_of_all_steps_are_refused() {
    let (code, out, err) = outcome(&["search", "--flip", "false"]);
    assert!(code == 2 && out.is_empty() && err.contains("--flag=false"), "{err}");
    let folder = tempfile::TempDir::new().unwrap();
    let args = [
        "search",
        "--steps",
        "2",
        "--warmup-epochs",
        "3",
        "--channels",
        "2",
        "--batch",
        "4",
        "--run",
        "r",
        "-q",
    ];
    let (code, _, err) = text(parsec(folder.path(), &args));
    assert!(code == 2 && err.contains("shorter than the search of 2 steps"), "{err}");
    assert!(!folder.path().join("r").exists());
}

/// The tip for an unknown flag is a flag of the same command, or there is none.
#[test]
fn tips_name_the_flag_that_was_meant() {
    for (args, tip) in [
        ("train --epoch 3", Some("--epochs")),
        ("search --step 5", Some("--steps")),
        ("search --learning-rate=1", Some("--lr")),
        ("predict run --jsn", Some("--json")),
        ("predict run a.png --csv out --tpo 3", Some("--top")),
        ("show run --sgv x", Some("--svg")),
        ("export run --onx y", Some("--onnx")),
        ("train --pretrained x", Some("--weights")),
        ("compare x --seed 3", None),
        ("search --foo 1", None),
        ("predict run -x", None),
    ] {
        let (code, _, err) = outcome(&args.split(' ').collect::<Vec<_>>());
        assert_eq!(code, 2, "{args}");
        let tips: Vec<&str> = err.lines().filter(|line| line.contains("tip:")).collect();
        match tip {
            Some(tip) => assert!(tips.len() == 1 && tips[0].ends_with(&format!("'{tip}'")), "{args}: {err}"),
            None => assert!(tips.is_empty(), "{args}: {err}"),
        }
        assert!(err.contains("[OPTIONS]"), "{args}: {err}");
    }
}

/// Nothing is read before a wrong name of an adapter is reported.
#[test]
fn a_wrong_adapter_is_the_only_thing_reported() {
    if !super::gpu::has_gpu() {
        return;
    }
    for args in ["search --device nothing", "train --genotype DARTS_V2 --device nothing"] {
        let (code, out, err) = outcome(&args.split(' ').collect::<Vec<_>>());
        assert!(code == 2 && out.is_empty() && err.starts_with("error: --device: expected"), "{args}: {err}");
        assert!(err.contains("found \"nothing\"\n  try: "), "{err}");
    }
}

/// A file that is no architecture has a hint, whatever is in it.
#[test]
fn files_without_an_architecture_have_a_hint() {
    let folder = tempfile::TempDir::new().unwrap();
    let genotype = parsec_nas::space::read_genotype("DARTS_V2").unwrap();
    let whole = format!("{{\"genotype\": \"{genotype}\"}}");
    for (name, bytes) in [
        ("cut.json", &whole.as_bytes()[..whole.len() / 2]),
        ("image.jpg", &[0xff, 0xd8, 0xff, 0xe0, 0, 16]),
        ("empty.txt", b""),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let (code, _, err) = outcome(&["show", path.to_str().unwrap()]);
        assert!(code == 1 && err.contains(name) && err.contains("\n  try: "), "{err}");
    }
}

#[test]
fn a_program_without_its_window_says_how_to_get_it() {
    let folder = tempfile::TempDir::new().unwrap();
    for args in [&["window"][..], &["search", "--window", "--steps", "2"]] {
        let output = parsec(folder.path(), args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        for part in ["--features window", "parsec report", "--tensorboard"] {
            assert!(said.contains(part), "{said}");
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
