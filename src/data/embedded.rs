//! The files in `assets/fashion-mnist-subset`, compiled into the program → images.

use std::path::Path;

use super::Images;
use super::idx::{assemble, parse_images, parse_labels};
use crate::error::Result;

/// The ten-class subset of Fashion-MNIST inside the program: 5,000 training and 1,000 held-out images.
pub(super) fn load() -> Result<(Images, Images, Vec<String>)> {
    macro_rules! asset {
        ($name:literal) => {
            ($name, include_bytes!(concat!("../../assets/fashion-mnist-subset/", $name)).as_slice())
        };
    }
    let part = |(image_name, image_bytes): (&str, &[u8]), (label_name, label_bytes): (&str, &[u8])| {
        let images = Path::new(image_name);
        let labels = Path::new(label_name);
        assemble(images, parse_images(images, image_bytes)?, labels, parse_labels(labels, label_bytes)?)
    };
    let train = part(asset!("train-images-idx3-ubyte.gz"), asset!("train-labels-idx1-ubyte.gz"))?;
    let test = part(asset!("t10k-images-idx3-ubyte.gz"), asset!("t10k-labels-idx1-ubyte.gz"))?;
    let names = [
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ];
    Ok((train, test, names.map(str::to_owned).to_vec()))
}
