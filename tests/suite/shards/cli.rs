//! The program on shards, with images on disk: the bits of a run in memory, and a run that goes on.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

fn parsec(folder: &Path, args: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parsec"));
    command.args(args.split_whitespace()).current_dir(folder).env_remove("PARSEC_DEVICE");
    let out = command.env("PARSEC_CACHE", folder.join("cache")).output().unwrap();
    let err = String::from_utf8(out.stderr).unwrap();
    assert!(out.status.success(), "{args}: {err}");
    err
}

fn last_state(run: &Path) -> Vec<u8> {
    let mut steps: Vec<_> =
        fs::read_dir(run.join("checkpoints")).unwrap().map(|e| e.unwrap().path()).collect();
    steps.sort();
    fs::read(steps.pop().unwrap().join("state.safetensors")).unwrap()
}

#[test]
fn runs_with_images_on_disk_have_the_bits_of_runs_in_memory() {
    if !super::super::gpu::has_gpu() {
        return;
    }
    let temporary = TempDir::new().unwrap();
    let folder = temporary.path();
    super::sets(folder);
    fs::create_dir(folder.join("parquet")).unwrap();
    for entry in fs::read_dir(super::fixture("parts/data")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.join("parquet").join(path.file_name().unwrap())).unwrap();
    }
    let train = "train --genotype 02012100 --size 8 --preset small --channels 4 --head 8 --batch 4";
    for (data, stop) in [("folder:folder", 1), ("tar:tar", 4), ("parquet:parquet", 6)] {
        let run = |name: &str, more: &str| {
            let name = format!("{}-{name}", data.split(':').next().unwrap());
            parsec(folder, &format!("{train} --data {data} --run {name} {more}"));
            folder.join(name)
        };
        let memory = last_state(&run("memory", "--steps 7"));
        let disk = run("disk", "--steps 7 --image-memory 0");
        assert!(last_state(&disk) == memory, "{data}");
        // A run that was stopped at any step goes on with the same bits.
        let part = run(
            &format!("part{stop}"),
            &format!("--steps 7 --image-memory 0 --checkpoint-every {stop} --keep-checkpoints 9"),
        );
        for entry in fs::read_dir(part.join("checkpoints")).unwrap() {
            let path = entry.unwrap().path();
            let name =
                path.file_name().unwrap().to_str().unwrap().trim_start_matches(|c: char| !c.is_ascii_digit());
            if name.parse::<u64>().unwrap() > stop {
                fs::remove_dir_all(path).unwrap();
            }
        }
        fs::remove_file(part.join("result.json")).unwrap();
        parsec(folder, &format!("resume {} --image-memory {stop}", part.display()));
        assert!(last_state(&part) == memory, "{data} from step {stop}");
    }
}
