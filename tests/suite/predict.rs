//! `parsec predict` on many files: patterns, damaged files, tables, batches, and an end before the last file.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::folder::class;

fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parsec"));
    command.args(args).current_dir(folder).env_remove("PARSEC_DEVICE");
    command.env("PARSEC_CACHE", folder.join("cache"));
    command
}

/// Exit code, standard output, standard error.
fn parsec(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let out = command(folder, args).output().unwrap();
    let utf8 = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), utf8(out.stdout), utf8(out.stderr))
}

/// A folder with a training `run` and its 12 images in `photos`.
fn trained() -> TempDir {
    let folder = TempDir::new().unwrap();
    ["a", "b"].iter().for_each(|name| class(&folder.path().join("photos"), name, 6, 0));
    let args = "train --genotype 02012100 --data folder:photos --size 8 --preset small --channels 4 --head 8 --batch 4 \
        --steps 2 --run run -q";
    let (code, _, err) = parsec(folder.path(), &args.split_whitespace().collect::<Vec<_>>());
    assert_eq!(code, 0, "{err}");
    folder
}

fn json(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn images(answers: &[Value]) -> Vec<&str> {
    answers.iter().map(|answer| answer["image"].as_str().unwrap()).collect()
}

#[test]
fn every_file_gets_an_answer_that_does_not_depend_on_the_others() {
    if !super::gpu::has_gpu() {
        return;
    }
    let temporary = trained();
    let folder = temporary.path();
    let (code, whole, err) = parsec(folder, &["predict", "run", "photos", "--json"]);
    assert_eq!(code, 0, "{err}");
    let whole = json(&whole);
    assert_eq!(whole.len(), 12);
    assert_eq!(images(&whole)[0], "photos/a/000.png");
    // The size of the batches and the number of threads change no bit.
    for flags in [["--batch", "1"], ["--batch", "3"], ["--batch", "5"], ["--batch", "64"], ["--threads", "3"]]
    {
        let (_, out, _) = parsec(folder, &[&["predict", "run", "photos", "--json"][..], &flags].concat());
        assert!(json(&out) == whole, "{flags:?}");
    }
    // Nor do files that cannot be read.
    fs::write(folder.join("photos/a/0005.png"), "no image").unwrap();
    fs::write(folder.join("photos/b/000.jpg"), "").unwrap();
    for batch in ["2", "16"] {
        let (code, out, err) =
            parsec(folder, &["predict", "run", "photos", "none.png", "--json", "--batch", batch]);
        assert_eq!(code, 1);
        let (bad, good): (Vec<Value>, Vec<Value>) =
            json(&out).into_iter().partition(|answer| answer.get("classes").is_none());
        assert_eq!(good, whole, "--batch {batch}");
        assert_eq!(images(&bad), ["photos/a/0005.png", "photos/b/000.jpg", "none.png"]);
        let reasons: Vec<_> = bad.iter().map(|answer| answer["error"].as_str().unwrap()).collect();
        assert_eq!(
            reasons,
            ["a file that starts with 6e 6f 20 69", "an empty file", "no such file"],
            "{out}"
        );
        assert!(err.contains("warning: none.png: no such file") && err.contains("3 that cannot"), "{err}");
        assert!(err.contains("15 images"), "{err}");
    }
    // Folders without images too.
    fs::create_dir(folder.join("empty")).unwrap();
    let (code, out, err) = parsec(folder, &["predict", "run", "empty", "photos/a/000.png", "--json"]);
    let answers = json(&out);
    assert_eq!((code, images(&answers)), (1, vec!["empty", "photos/a/000.png"]));
    assert_eq!(answers[0]["error"], "a folder without images");
    assert!(
        err.contains("warning: empty: a folder without images") && err.contains("1 that cannot"),
        "{err}"
    );
    let (code, out, err) = parsec(folder, &["predict", "run", "empty"]);
    assert!(code == 1 && out.is_empty() && err.contains("empty: expected an image"), "{err}");
    // The good ones are printed as text too.
    let (code, out, _) = parsec(folder, &["predict", "run", "photos"]);
    assert_eq!((code, out.lines().count()), (1, 12));
    // A single file has an error of its own, which names a similar file.
    let (code, out, err) = parsec(folder, &["predict", "run", "photos/a/00.png"]);
    assert!(code == 1 && out.is_empty() && err.contains("photos/a/00"), "{err}");
    assert!(err.contains("which is there"), "{err}");
    let (_, out, err) = parsec(folder, &["predict", "run", "none.png", "--json"]);
    assert_eq!(json(&out)[0]["error"], "no such file");
    assert!(err.contains("check the path"), "{err}");
}

#[test]
fn patterns_and_links_name_files() {
    if !super::gpu::has_gpu() {
        return;
    }
    let temporary = trained();
    let folder = temporary.path();
    let named = |args: &[&str]| {
        let (code, out, err) = parsec(folder, &[&["predict", "run", "--json"][..], args].concat());
        assert_eq!(code, 0, "{args:?}: {err}");
        images(&json(&out)).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(named(&["photos/a/*1.png"]), ["photos/a/001.png"]);
    assert_eq!(named(&["photos/?/00[12].png"]).len(), 4);
    assert_eq!(named(&["photos/**/*.png"]).len(), 12);
    // A folder that a pattern matches is walked, and no file is named twice.
    assert_eq!(named(&["photos/**"]).len(), 12);
    assert_eq!(named(&["photos/*"]).len(), 12);
    // A file of that name is no pattern.
    fs::copy(folder.join("photos/a/000.png"), folder.join("[a].png")).unwrap();
    assert_eq!(named(&["[a].png"]), ["[a].png"]);
    let (code, out, err) = parsec(folder, &["predict", "run", "photos/a/000.png", "photos/*.webp"]);
    assert!(code == 1 && out.is_empty(), "{out}");
    assert!(err.contains("photos/*.webp: ") && err.contains("no match"), "{err}");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("photos/a/000.png", folder.join("link.png")).unwrap();
        std::os::unix::fs::symlink("photos/b", folder.join("linked")).unwrap();
        assert_eq!(named(&["link.png", "linked"]).len(), 7);
    }
}

#[test]
fn a_table_has_a_row_for_each_file() {
    if !super::gpu::has_gpu() {
        return;
    }
    let temporary = trained();
    let folder = temporary.path();
    fs::copy(folder.join("photos/a/000.png"), folder.join("a, b.png")).unwrap();
    fs::write(folder.join("bad.png"), "x").unwrap();
    fs::write(folder.join("names.txt"), "one \"1\"\ntwo, 2\n").unwrap();
    let files = ["photos/b/001.png", "bad.png", "a, b.png"];
    let args = [&["predict", "run", "--labels", "names.txt"][..], &files].concat();
    let (code, table, _) = parsec(folder, &[&args[..], &["--csv"]].concat());
    assert_eq!(code, 1);
    let (_, answers, _) = parsec(folder, &[&args[..], &["--json"]].concat());
    let answers = json(&answers);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "image,class,name,probability,class_2,name_2,probability_2,error");
    assert_eq!((lines.len(), lines[2]), (4, "bad.png,,,,,,,a file that starts with 78"));
    for (line, i, image) in [(lines[1], 0, "photos/b/001.png"), (lines[3], 2, "\"a, b.png\"")] {
        let fields = answers[i]["classes"].as_array().unwrap().iter().map(|class| {
            let name = if class["class"] == 0 { "\"one \"\"1\"\"\"" } else { "\"two, 2\"" };
            format!("{},{name},{}", class["class"], class["probability"])
        });
        assert_eq!(line, format!("{image},{},", fields.collect::<Vec<_>>().join(",")));
    }
    // The same in a file, with one class for each image.
    let (code, out, _) = parsec(folder, &[&args[..], &["--csv=t.csv", "--top", "1"]].concat());
    assert_eq!((code, out.as_str()), (1, ""));
    let table = fs::read_to_string(folder.join("t.csv")).unwrap();
    assert!(table.starts_with("image,class,name,probability,error\nphotos/b/001.png,"), "{table}");
    for (flag, part) in [("--csv=bad.png", "one of the images"), ("--csv=none/t.csv", "none/t.csv")] {
        let (code, _, err) = parsec(folder, &[&args[..], &[flag]].concat());
        assert!(code != 0 && err.contains(part), "{err}");
    }
    assert_eq!(fs::read_to_string(folder.join("bad.png")).unwrap(), "x");
    assert_eq!(parsec(folder, &[&args[..], &["--csv", "--json"]].concat()).0, 2);
}

/// `predict` on many files, and its first line.
fn begun(folder: &Path, form: &str) -> (Child, BufReader<std::process::ChildStdout>, String) {
    fs::create_dir_all(folder.join("many")).unwrap();
    for i in 0..4000 {
        _ = fs::hard_link(folder.join("photos/a/000.png"), folder.join(format!("many/{i:04}.png")));
    }
    let mut command = command(folder, &["predict", "run", "many", "--batch", "1", form]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    (child, out, line)
}

fn ended(child: Child) -> (Option<i32>, String) {
    let out = child.wait_with_output().unwrap();
    (out.status.code(), String::from_utf8(out.stderr).unwrap())
}

#[test]
fn answers_that_nobody_reads_end_quietly() {
    if !super::gpu::has_gpu() {
        return;
    }
    let temporary = trained();
    for form in ["--csv", "--json"] {
        let (child, out, line) = begun(temporary.path(), form);
        assert!(line.contains("image"), "{line}");
        drop(out);
        let (code, err) = ended(child);
        assert!(code == Some(0) && !err.contains("error"), "{form}: {code:?}: {err}");
    }
}

#[cfg(unix)]
#[test]
fn signals_end_the_answers_or_are_ignored() {
    use std::io::Read;

    if !super::gpu::has_gpu() {
        return;
    }
    let temporary = trained();
    let send = |child: &Child, signal: &str| {
        let status = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
        assert!(status.unwrap().success());
    };
    // What is printed is whole.
    let (child, mut out, mut text) = begun(temporary.path(), "--json");
    send(&child, "INT");
    out.read_to_string(&mut text).unwrap();
    let n = json(&text).len();
    let (code, err) = ended(child);
    assert!(code == Some(130) && !err.contains("error"), "{code:?}: {err}");
    assert!(n < 4000 && err.contains(&format!("stopped after {n} of 4000 images")), "{n}: {err}");
    // There is nothing to save.
    let (child, mut out, mut text) = begun(temporary.path(), "--csv");
    send(&child, "USR1");
    out.read_to_string(&mut text).unwrap();
    let (code, err) = ended(child);
    assert!(code == Some(0) && !err.contains("saving"), "{code:?}: {err}");
    assert_eq!(text.lines().count(), 4001);
    // The same for a command that prints one result.
    let mut eval = command(temporary.path(), &["eval", "run"]);
    let mut eval = eval.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut err = BufReader::new(eval.stderr.take().unwrap());
    err.read_line(&mut String::new()).unwrap();
    send(&eval, "USR1");
    assert_eq!(eval.wait().unwrap().code(), Some(0));
}
