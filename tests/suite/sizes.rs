//! Images that are not square: the setting, a folder's images, and whole runs on them.

use std::path::Path;
use std::process::Command;

use image::{Rgb, RgbImage};
use parsec_nas::config::{Config, TrainConfig, to_toml};
use parsec_nas::data::{LoadOptions, Size, load};
use parsec_nas::export::onnx::proto::{Extent, Model};
use parsec_nas::network::{Kind, Shape};
use parsec_nas::space::{NetworkKind, NetworkSpec, Paths, SpaceSettings, space};
use prost::Message;
use serde_json::Value as Json;
use tempfile::TempDir;
use toml::{Table, Value};

use super::gpu::has_gpu;

fn resolved(size: impl Into<Value>) -> Result<Config, String> {
    Config::resolve(None, &Table::from_iter([("size".to_owned(), size.into())])).map_err(|e| e.to_string())
}

#[test]
fn a_size_is_one_number_or_two() {
    let (square, wide) = (Size::square(24), Size { height: 24, width: 32 });
    let two = |a: i64, b: i64| Value::from(vec![a, b]);
    // A file says a square size as the integer that it always was.
    for (given, size, line) in [
        (Value::from(24), square, "size = 24"),
        ("24".into(), square, "size = 24"),
        ("24,24".into(), square, "size = 24"),
        (two(24, 24), square, "size = 24"),
        ("24,32".into(), wide, "size = [24, 32]"),
        (" 24 , 32 ".into(), wide, "size = [24, 32]"),
        (two(24, 32), wide, "size = [24, 32]"),
    ] {
        let config = resolved(given).unwrap();
        assert_eq!(config.images.size, Some(size));
        let toml = config.to_toml().unwrap();
        assert!(toml.lines().any(|l| l == line), "{line}: {toml}");
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, toml).unwrap();
        assert_eq!(Config::read_resolved(&path).unwrap(), config);
        let json = serde_json::to_value(config.images.size).unwrap();
        let plain = if size == square { Json::from(24) } else { vec![24, 32].into() };
        assert_eq!(json, plain);
        assert_eq!(size.to_string().parse(), Ok(size));
    }
    let wrong: [Value; 8] = [
        3.into(),
        513.into(),
        "24,3".into(),
        "24,".into(),
        "24x32".into(),
        "24,32,40".into(),
        vec![24, 32, 40].into(),
        vec![24, 1000].into(),
    ];
    for wrong in wrong {
        let message = resolved(wrong.clone()).unwrap_err();
        let expected = "an integer from 4 to 512, or two, height and width, separated by a comma";
        assert!(message.contains("--size") && message.contains(expected), "{wrong}: {message}");
    }
    for wrong in ["", "0", "24,0", "a", "24,32,40"] {
        assert!(wrong.parse::<Size>().is_err(), "{wrong}");
    }
    let flags = Table::from_iter([("genotype".into(), "DARTS_V2".into()), ("size".into(), "24,32".into())]);
    let config = TrainConfig::resolve(None, None, &flags).unwrap();
    assert!(to_toml(&config).unwrap().contains("\nsize = [24, 32]\n"));
}

/// Writes images that are black at the top and at the left: the lower right quarter is white. Their sizes differ.
fn photos(folder: &Path) {
    for (class, red) in ["a", "b"].into_iter().zip([40, 200]) {
        std::fs::create_dir_all(folder.join("photos").join(class)).unwrap();
        for i in 0..20u32 {
            let (width, height) = (40 + 4 * i, 60 + 8 * (i % 3));
            let image = RgbImage::from_fn(width, height, |x, y| {
                let white = 2 * x >= width && 2 * y >= height;
                Rgb(if white { [255; 3] } else { [red, (x * y * (i + 1) % 64) as u8, 0] })
            });
            image.save(folder.join(format!("photos/{class}/{i:02}.png"))).unwrap();
        }
    }
}

#[test]
fn a_folder_has_the_wanted_rows_and_columns() {
    let folder = TempDir::new().unwrap();
    photos(folder.path());
    let spec = format!("folder:{}", folder.path().join("photos").display());
    let options = LoadOptions { size: Some(Size { height: 24, width: 32 }), ..LoadOptions::default() };
    let data = load(&spec, &options).unwrap();
    assert_eq!((data.train.n, data.test.n), (32, 8));
    assert_eq!((data.train.height, data.train.width, data.identity.height), (24, 32, 24));
    assert_eq!(data.train.bytes().len(), 32 * 3 * 24 * 32);
    for i in 0..data.train.n {
        let blue = &data.train.image(i).unwrap()[2 * 24 * 32..];
        let at = |row: usize, column: usize| blue[row * 32 + column];
        assert_eq!([at(23, 31), at(13, 17), at(10, 31), at(23, 14)], [255, 255, 0, 0], "image {i}");
    }
    let wrong = LoadOptions { size: Some(Size { height: 24, width: 2 }), ..LoadOptions::default() };
    let message = load(&spec, &wrong).unwrap_err().to_string();
    assert!(message.contains("24,2"), "{message}");
}

/// The shapes of the maps before the global pool.
fn last(name: &str, height: usize, width: usize) -> Shape {
    let settings = SpaceSettings { layers: 3, ..SpaceSettings::default() };
    let space = space(name, &settings).unwrap();
    let alpha = space.largest().remove(0);
    let kind = NetworkKind::Final;
    let spec = NetworkSpec { space, kind, in_channels: 3, height, width, n_classes: 2, channels: 4 };
    spec.check().unwrap();
    let net = spec.net(Paths::Child(&alpha));
    assert_eq!(net.image(), Shape { c: 3, h: height, w: width });
    let pool = net.layers.iter().find(|layer| matches!(layer.kind, Kind::GlobalPool)).unwrap();
    net.input_shape(pool)
}

#[test]
fn maps_are_halved_by_rows_and_columns() {
    let extents = |shape: Shape| (shape.h, shape.w);
    // Two reductions, and three stages that round up: 33, 17, 9, 5 and 20, 10, 5, 3.
    assert_eq!(extents(last("darts", 24, 32)), (6, 8));
    assert_eq!(extents(last("macro", 24, 32)), (3, 4));
    assert_eq!(extents(last("macro", 33, 20)), (5, 3));
}

/// Exit code, standard output, standard error.
fn parsec(folder: &Path, args: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parsec"));
    command.args(args.split_whitespace()).current_dir(folder).env("PARSEC_CACHE", folder.join("cache"));
    let out = command.output().unwrap();
    let utf8 = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), utf8(out.stdout), utf8(out.stderr))
}

fn good(folder: &Path, args: &str) -> String {
    let (code, out, err) = parsec(folder, args);
    assert_eq!(code, 0, "{args}: {err}");
    out
}

/// Search, train, evaluate, predict and export on images of `size`.
fn whole(search: &str, [height, width]: [usize; 2]) {
    if !has_gpu() {
        return;
    }
    let temporary = TempDir::new().unwrap();
    let folder = temporary.path();
    photos(folder);
    let (size, common) =
        (format!("--size {height},{width}"), "--data folder:photos --channels 4 --batch 8 -q");
    good(folder, &format!("search {search} {common} {size} --steps 3 --samples 2 --warmup 0 --run found"));
    good(
        folder,
        &format!(
            "train --genotype found {common} {size} --preset small --steps 3 --crop-pad 2 --run trained"
        ),
    );
    let read = |path: &str| std::fs::read_to_string(folder.join(path)).unwrap();
    for run in ["found", "trained"] {
        let manifest: Json = serde_json::from_str(&read(&format!("{run}/manifest.json"))).unwrap();
        assert_eq!(manifest["config"]["size"], Json::from(vec![height, width]));
        assert_eq!(
            (&manifest["data"]["height"], &manifest["data"]["width"]),
            (&height.into(), &width.into())
        );
    }
    let eval: Json = serde_json::from_str(&good(folder, "eval trained --json -q")).unwrap();
    assert_eq!((&eval["n"], &eval["data"]["width"]), (&8.into(), &width.into()));
    let again: Json = serde_json::from_str(&good(folder, &format!("eval trained {size} --json -q"))).unwrap();
    assert_eq!(eval["n_correct"], again["n_correct"]);
    let (code, _, err) = parsec(folder, &format!("eval trained --size {width},{height} -q"));
    assert!(code == 2 && err.contains(&format!("3x{height}x{width}")), "{err}");
    let predicted = good(folder, "predict trained photos/a/00.png --json -q");
    assert_eq!(serde_json::from_str::<Json>(&predicted).unwrap().as_array().unwrap().len(), 1);
    good(folder, "export trained --onnx n.onnx --python n.py");
    let model = Model::decode(std::fs::read(folder.join("n.onnx")).unwrap().as_slice()).unwrap();
    let graph = model.graph.unwrap();
    let shape = graph.input[0].r#type.clone().unwrap().tensor_type.unwrap().shape.unwrap();
    let dims: Vec<Extent> = shape.dim.into_iter().map(|d| d.value.unwrap()).collect();
    let known = [3, height, width].map(|n| Extent::Value(n as i64));
    assert_eq!(dims[1..], known);
    let shown: Json = serde_json::from_str(&good(folder, "show trained --json")).unwrap();
    let given: Json = serde_json::from_str(&good(folder, &format!("show trained {size} --json"))).unwrap();
    assert_eq!(shown["macs"], given["macs"]);
}

#[test]
fn a_cell_search_on_wide_images() {
    whole("--layers 3", [24, 32]);
}

#[test]
fn a_chain_search_on_tall_images_of_odd_height() {
    whole("--space macro --head 16", [33, 20]);
}

/// Cells halve even sides only, and the message names a size that fits.
#[test]
fn cells_refuse_odd_sides_with_a_size_that_fits() {
    let temporary = TempDir::new().unwrap();
    let folder = temporary.path();
    photos(folder);
    let (code, _, err) = parsec(
        folder,
        "search --data folder:photos --size 33,20 --batch 8 --layers 3 --channels 4 --steps 1 --run r -q",
    );
    if has_gpu() {
        assert!(code == 2 && err.contains("33x20 pixels") && err.contains("--size 36,20"), "{err}");
    }
}
