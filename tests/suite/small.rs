//! A small data set for runs of the program, since every run ends with an evaluation on all held-out images.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use parsec_nas::data::{Images, LoadOptions, load};
use tempfile::TempDir;

/// Images of each class for training, and held-out ones.
const N: [usize; 2] = [12, 4];

/// The specification of 120 + 40 of the embedded images, as files of the MNIST family.
pub fn data() -> &'static str {
    static DATA: OnceLock<String> = OnceLock::new();
    DATA.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("small");
        // Tests of several processes may write the folder at the same time, with the same content.
        if !folder.is_dir() {
            let new = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            write(new.path());
            _ = std::fs::rename(new.path(), &folder);
        }
        format!("idx:{}", folder.display())
    })
}

fn write(folder: &Path) {
    let all = load("embedded", &LoadOptions::default()).unwrap();
    for (name, images, n) in [("train", &all.train, N[0]), ("t10k", &all.test, N[1])] {
        let mut left = vec![n; all.class_names.len()];
        let mut taken = Vec::new();
        for (i, label) in images.labels.iter().enumerate() {
            if left[usize::from(*label)] > 0 {
                left[usize::from(*label)] -= 1;
                taken.push(i);
            }
        }
        let path = |what: &str| -> PathBuf { folder.join(format!("{name}-{what}-ubyte")) };
        std::fs::write(path("images-idx3"), pixels(images, &taken)).unwrap();
        let labels = taken.iter().map(|i| images.labels[*i] as u8);
        let header = [[0, 0, 8, 1], (taken.len() as u32).to_be_bytes()].concat();
        std::fs::write(path("labels-idx1"), header.into_iter().chain(labels).collect::<Vec<u8>>()).unwrap();
    }
}

fn pixels(images: &Images, taken: &[usize]) -> Vec<u8> {
    let extents = [taken.len(), images.height, images.width];
    let header = extents.iter().flat_map(|n| (*n as u32).to_be_bytes());
    let pixels = taken.iter().flat_map(|i| images.image(*i).unwrap().to_vec());
    [0, 0, 8, 3].into_iter().chain(header).chain(pixels).collect()
}
