//! Writes every kernel with every override set, in every form that an adapter may get, into a folder for other
//! compilers to check: WGSL, SPIR-V, MSL, HLSL and GLSL, and `index.json`.
//!
//! `cargo run --example shaders -- DIR`; `tests/adapters/shaders` and `tests/adapters/tint` read the folder.

use std::collections::BTreeMap;
use std::path::PathBuf;

use parsec_nas::Error;
use parsec_nas::kernel::translate;
use parsec_nas::selftest::shaders::{forms, sets};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(dir) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return Err(Error::usage("DIR", "a folder", "nothing", "cargo run --example shaders -- DIR").into());
    };
    std::fs::create_dir_all(&dir)?;
    let mut index: Vec<Value> = Vec::new();
    // Numbers every entry point's override sets.
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for set in sets()? {
        let (shader, entry, overrides) = &set;
        let number = counts.entry((shader, entry)).or_default();
        *number += 1;
        for (form, kernel) in forms(&set)? {
            let left: &[(&str, u32)] = if form == "written" { overrides } else { &[] };
            let translated = translate(&kernel, entry, left)?;
            let stem = format!("{shader}.{entry}.{number}.{form}");
            let spirv: Vec<u8> = translated.spirv.iter().flat_map(|word| word.to_le_bytes()).collect();
            std::fs::write(dir.join(format!("{stem}.wgsl")), &kernel.text)?;
            std::fs::write(dir.join(format!("{stem}.spv")), spirv)?;
            std::fs::write(dir.join(format!("{stem}.metal")), translated.msl)?;
            std::fs::write(dir.join(format!("{stem}.hlsl")), translated.hlsl)?;
            std::fs::write(dir.join(format!("{stem}.comp")), translated.glsl)?;
            let constants: BTreeMap<&str, u32> = left.iter().copied().collect();
            index.push(json!({ "stem": stem, "entry": entry, "form": form, "constants": constants }));
        }
    }
    std::fs::write(dir.join("index.json"), serde_json::to_string_pretty(&index)?)?;
    println!("{} kernels in five languages in {}", index.len(), dir.display());
    Ok(())
}
