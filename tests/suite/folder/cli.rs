//! The program on folders of images: the account that it prints, and the part that it reports.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::class;

/// Exit code, standard output, standard error.
fn parsec(folder: &Path, args: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parsec"));
    command.args(args.split_whitespace()).current_dir(folder).env_remove("PARSEC_DEVICE");
    let out = command.env("PARSEC_CACHE", folder.join("cache")).output().unwrap();
    let utf8 = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), utf8(out.stdout), utf8(out.stderr))
}

fn good(folder: &Path, args: &str) -> (String, String) {
    let (code, out, err) = parsec(folder, args);
    assert_eq!(code, 0, "{args}: {err}");
    (out, err)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

const TRAIN: &str = "train --genotype 02012100 --data folder:photos --size 8 --preset small --channels 4 --head 8 \
    --batch 8 --epochs 2";

#[test]
fn a_training_chooses_on_val_and_is_reported_on_test() {
    if !super::super::gpu::has_gpu() {
        return;
    }
    let temporary = TempDir::new().unwrap();
    let folder = temporary.path();
    for (part, n, first) in [("train", 12, 0), ("val", 4, 100), ("test", 3, 200)] {
        ["a", "b"].iter().for_each(|name| class(&folder.join("photos").join(part), name, n, first));
    }
    fs::write(folder.join("photos/train/a/1.heic"), "x").unwrap();
    let line = "24 + 8 + 6 images, 2 classes, 3 channels, 8x8, from train/, val/ (to choose by) and test/ (for eval); passed \
                over: 1 .heic";
    let (out, err) = good(folder, &format!("{TRAIN} --run run --json"));
    assert_eq!(err.matches(line).count(), 1, "{err}");
    let result = json(&out);
    assert_eq!((&result["n"], &result["data"]["parts"][1]["n"]), (&8.into(), &8.into()));
    let manifest = json(&fs::read_to_string(folder.join("run/manifest.json")).unwrap());
    assert_eq!(manifest["read"], result["data"]);
    let parts = &manifest["read"]["parts"];
    let named: Vec<_> = (0..3).map(|i| (parts[i]["role"].as_str(), parts[i]["place"].as_str())).collect();
    let want =
        [("train", "train/"), ("held_out", "val/"), ("report", "test/")].map(|(a, b)| (Some(a), Some(b)));
    assert_eq!(named, want);
    assert_eq!((&manifest["data"]["n_test"], &manifest["data"]["n_report"]), (&8.into(), &6.into()));

    let (out, err) = good(folder, "eval run --json");
    let eval = json(&out);
    assert_eq!((&eval["n"], &eval["data"]["parts"][0]["role"]), (&6.into(), &"report".into()));
    assert!(err.contains("6 images, 2 classes, 3 channels, 8x8, from test/; passed over: 1 .heic"), "{err}");
    assert!(!err.contains("not those with which"), "{err}");
    // The result of the training has the reported images too, with its last weights. A comparison is on them.
    let n = |value: &Value| value["n"].as_u64();
    assert_eq!((n(&result), n(&result["report"])), (Some(8), Some(6)));
    let report = &result["report"];
    assert_eq!(report["accuracy"].as_f64(), Some(report["n_correct"].as_f64().unwrap() / 6.0));
    if result["best_step"] == result["steps"] {
        assert_eq!(report["n_correct"], eval["n_correct"]);
    }
    let config = "methods = [\"random\"]\nseeds = [1]\ndata = \"folder:photos\"\n[search]\nspace = \"macro\"\n\
        size = 8\nchannels = 4\nhead = 8\n[train]\nsize = 8\nchannels = 4\nhead = 8\nbatch = 8\nsteps = 2\n";
    fs::write(folder.join("c.toml"), config).unwrap();
    let (out, _) = good(folder, "compare c.toml --run both --json -q");
    let trained = json(&fs::read_to_string(folder.join("both/random-1/train/result.json")).unwrap());
    assert_eq!(json(&out)["test_images"], 6);
    assert_eq!(json(&out)["runs"][0]["accuracy"], trained["report"]["accuracy"]);
    // Runs on other data have no place in the table.
    class(&folder.join("photos/train"), "b", 12, 40);
    fs::write(folder.join("c.toml"), config.replace("[1]", "[1, 2]")).unwrap();
    let (code, _, err) = parsec(folder, "compare c.toml --run both --json -q");
    assert!(
        code == 1 && err.contains("random-2/train: expected the data with which") && err.contains("random-1"),
        "{err}"
    );
    assert!(!folder.join("both/random-2/train").exists());
    class(&folder.join("photos/train"), "b", 12, 0);
    let (out, _) = good(folder, "compare c.toml --run both --json -q");
    assert_eq!(json(&out)["runs"].as_array().unwrap().len(), 2);
    // With -q only the passed-over entries are reported.
    let (_, err) = good(folder, "eval run --json -q");
    assert_eq!(err, "warning: passed over: 1 .heic\n");
    fs::remove_file(folder.join("photos/train/a/1.heic")).unwrap();
    assert_eq!(good(folder, "eval run --json -q").1, "");
    // `eval` warns about other images in the part. A damaged training image does not concern it.
    class(&folder.join("photos/test"), "b", 3, 7);
    fs::write(folder.join("photos/train/a/000.png"), "x").unwrap();
    let (_, err) = good(folder, "eval run --json -q");
    assert_eq!(err, "warning: the images of test/ (6) are not those with which the run was started (6)\n");

    // Damaged images are named together in one error, or are counted.
    fs::write(folder.join("photos/val/b/000.png"), "x").unwrap();
    let (code, _, err) = parsec(folder, &format!("{TRAIN} --run other -q"));
    assert!(code == 1 && err.contains("2 that cannot") && err.contains("train/a/000.png"), "{err}");
    let (_, err) = good(folder, &format!("{TRAIN} --run other -q --skip-bad-images"));
    assert_eq!(err, "warning: passed over: 2 damaged images\n");

    // predict: folders, links, and all damaged files after the good ones.
    let (out, _) = good(folder, "predict run photos/test --json");
    assert_eq!(json(&out).as_array().unwrap().len(), 6);
    let (code, out, err) =
        parsec(folder, "predict run photos/test/a photos/train/a/000.png photos/val/b/000.png --json");
    let answers = json(&out);
    let bad = answers.as_array().unwrap().iter().filter(|answer| answer.get("error").is_some()).count();
    assert_eq!((code, answers.as_array().unwrap().len(), bad), (1, 5, 2));
    assert!(err.contains("2 that cannot") && !err.contains("skip-bad"), "{err}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_parsec"));
    command.args(format!("{TRAIN} --run more").split_whitespace()).current_dir(folder);
    let out = command.env("PARSEC_IMAGE_CACHE", "10 GB").output().unwrap();
    let err = String::from_utf8(out.stderr).unwrap();
    assert!(
        out.status.code() == Some(2) && err.contains("PARSEC_IMAGE_CACHE: expected a limit in GB"),
        "{err}"
    );
    let (code, out, _) = parsec(folder, "predict run photos/val/b/000.png");
    assert_eq!((code, out.as_str()), (1, ""));
}

/// Every command that takes images suggests the probable source for a folder without a source.
#[test]
fn a_folder_without_its_source_is_recognised_by_every_command() {
    let temporary = TempDir::new().unwrap();
    let folder = temporary.path();
    ["a", "b"].iter().for_each(|name| class(&folder.join("photos"), name, 2, 0));
    fs::write(folder.join("c.toml"), "seeds = [1]\nmethods = [\"random\"]\ndata = \"photos\"").unwrap();
    fs::write(folder.join("s.toml"), "data = \"photos\"").unwrap();
    for args in [
        "search --data photos",
        "train --genotype DARTS_V2 --data photos",
        "compare c.toml --run out",
        "search s.toml",
    ] {
        let (code, _, err) = parsec(folder, args);
        assert!(code == 2 && err.contains("folder:photos"), "{args}: {err}");
    }
}

/// A run of a version that ignored `val` beside `test` is resumed with the same bits.
#[test]
fn a_run_of_before_goes_on_with_its_parts() {
    if !super::super::gpu::has_gpu() {
        return;
    }
    let temporary = TempDir::new().unwrap();
    let folder = temporary.path();
    for (part, n, first) in [("train", 12, 0), ("test", 3, 200)] {
        ["a", "b"].iter().for_each(|name| class(&folder.join("photos").join(part), name, n, first));
    }
    good(folder, &format!("{TRAIN} --run run --checkpoint-every 1 --keep-checkpoints 9"));
    let run = folder.join("run");
    let last = run.join("checkpoints/step-00000006");
    let state = fs::read(last.join("state.safetensors")).unwrap();

    // The folder and the manifest become as they were with that version.
    ["a", "b"].iter().for_each(|name| class(&folder.join("photos/val"), name, 4, 100));
    fs::create_dir(folder.join("photos/train/a/below")).unwrap();
    class(&folder.join("photos/train/a"), "below", 4, 60);
    let mut manifest = json(&fs::read_to_string(run.join("manifest.json")).unwrap());
    for key in ["read", "check"] {
        assert!(manifest.as_object_mut().unwrap().remove(key).is_some());
    }
    fs::write(run.join("manifest.json"), manifest.to_string()).unwrap();
    fs::remove_file(run.join("result.json")).unwrap();
    for step in 3..=6 {
        fs::remove_dir_all(run.join(format!("checkpoints/step-0000000{step}"))).unwrap();
    }
    let (_, err) = good(folder, "resume run");
    assert!(err.contains("24 + 6 images") && err.contains("going on after step 2"), "{err}");
    assert!(fs::read(last.join("state.safetensors")).unwrap() == state, "other bits");
    assert_eq!(json(&good(folder, "eval run --json").0)["n"], 6);
}

/// The classes of a run and of other data are compared by name: numbers have another order as names of folders.
#[test]
fn classes_in_another_order_are_told_by_their_names() {
    if !super::super::gpu::has_gpu() {
        return;
    }
    let temporary = TempDir::new().unwrap();
    let folder = temporary.path();
    let place = folder.join("shards.tar");
    let mut builder = tar::Builder::new(fs::File::create(&place).unwrap());
    for label in 0..11 {
        for i in 0..6 {
            let path = folder.join(format!("set/{label}/{i}.png"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            super::plain(path.clone(), [(label * 23) as u8, 255 - (label * 23) as u8, (i * 5) as u8]);
            let mut add = |end: &str, bytes: &[u8]| {
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes.len() as u64);
                header.set_mode(0o644);
                builder.append_data(&mut header, format!("{label:02}-{i}.{end}"), bytes).unwrap();
            };
            add("png", &fs::read(&path).unwrap());
            add("cls", label.to_string().as_bytes());
        }
    }
    builder.into_inner().unwrap();
    let run = format!(
        "{} --epochs 6 --run run -q",
        TRAIN.replace("folder:photos", "folder:set").replace(" --epochs 2", "")
    );
    good(folder, &run);
    let evaluated = |args: &str| {
        let (out, _) = good(folder, &format!("eval {args} --json -q"));
        let result = json(&out);
        (result["n_correct"].clone(), result["per_class"].clone())
    };
    let own = evaluated("run --data folder:set");
    assert!(own.0.as_u64() > Some(0), "{own:?}");
    assert_eq!(evaluated("run --data tar:shards.tar"), own);
    // The file of an export knows the images of the training as well as the run does.
    good(folder, "export run --safetensors net.safetensors -q");
    let file = "--genotype 02012100 --weights net.safetensors --channels 4 --head 8";
    assert_eq!(evaluated(&format!("{file} --data folder:set")), own);
    assert_eq!(evaluated(&format!("{file} --data tar:shards.tar")), own);
    fs::rename(folder.join("set/7"), folder.join("set/seven")).unwrap();
    for args in [format!("eval {file} --data folder:set"), "eval run --data folder:set".into()] {
        let (code, _, err) = parsec(folder, &args);
        assert!(code == 2 && err.contains("expected the class `7` as in training"), "{err}");
    }
    // A folder, and a file that is cut in its header, have the messages of weights.
    let whole = fs::read(folder.join("net.safetensors")).unwrap();
    fs::write(folder.join("cut.safetensors"), &whole[..200]).unwrap();
    for (name, words) in
        [("run", "parsec export run --safetensors"), ("cut.safetensors", "a whole safetensors file")]
    {
        let (code, _, err) =
            parsec(folder, &format!("eval {} --data folder:set", file.replace("net.safetensors", name)));
        assert!(code == 1 && err.contains(words), "{err}");
    }
    let onnx =
        "export --weights net.safetensors --genotype-in 02012100 --channels 4 --head 8 --onnx net.onnx -q";
    good(folder, onnx);
    let text = String::from_utf8_lossy(&fs::read(folder.join("net.onnx")).unwrap()).into_owned();
    assert!(text.contains("[8,8]") && text.contains("class_names") && text.contains("mean"));
    // Numbers and names can only be compared by position.
    fs::create_dir(folder.join("named")).unwrap();
    for (i, name) in ["k", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j"].iter().enumerate() {
        fs::rename(
            folder.join(if i == 7 { "set/seven".into() } else { format!("set/{i}") }),
            folder.join("named").join(name),
        )
        .unwrap();
    }
    good(folder, &format!("{} --run by-name -q", TRAIN.replace("folder:photos", "folder:named")));
    let (_, err) = good(folder, "eval by-name --data tar:shards.tar --json -q");
    assert!(
        err.contains("compared by their positions") && err.contains("0 is a, 1 is b, 2 is c, ..."),
        "{err}"
    );
    // A classifier of other weights would name the wrong classes.
    for weights in ["run", "net.safetensors"] {
        let again = TRAIN.replace("folder:photos", "tar:shards.tar");
        let (code, _, err) = parsec(folder, &format!("{again} --weights {weights} --run other"));
        assert!(code == 1 && err.contains("the classes in the order of the training: 0, 1, 10, 2"), "{err}");
    }
}
