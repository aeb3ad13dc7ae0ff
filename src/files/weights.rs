//! A file of weights, whatever program wrote it → tensors by the names of the network.
//!
//! The file is in the safetensors format or in PyTorch's own ([`torch`]). Prefixes that wrappers put before every name
//! (`module.`, `_orig_mod.`, `model.`) are removed. Floats of other widths become 32-bit floats. A checkpoint of this program
//! stays as it is.

use std::path::Path;

use super::tensors::{self, Data, Metadata, Tensor, Tensors};
use super::torch;
use crate::error::word;
use crate::{Error, Result};

/// Prefixes of the names of a wrapped module: `DataParallel`, `torch.compile`, and a module of Lightning.
const WRAPPERS: [&str; 3] = ["module.", "_orig_mod.", "model."];
const WEIGHTS: &str = "weights: a safetensors file, or one of torch.save";

/// The weights in the file at `path`.
///
/// # Errors
/// The errors of [`parse`], and [`Error::Io`].
pub fn read(path: &Path) -> Result<Tensors> {
    if path.is_dir() {
        let try_this = format!("parsec export {} --safetensors FILE, if it is a run", word(path));
        return Err(Error::file(path, None, WEIGHTS, "a folder", try_this));
    }
    let bytes = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
    parse(&bytes, path)
}

/// The metadata of the weights in the file at `path`. They are empty if the file has none, or is no safetensors file.
/// What is wrong with the file is reported when its weights are read.
pub fn metadata(path: &Path) -> Metadata {
    if !path.is_file() {
        return Metadata::new();
    }
    tensors::metadata(path).unwrap_or_default()
}

/// The weights in `bytes`, the content of a file. `path` is for messages.
///
/// # Errors
/// [`Error::File`] for a file of another format, and for a tensor with a number that is not finite.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Tensors> {
    // A safetensors file has the length of its header in eight bytes, and then the header, which starts with a brace.
    let mut found = if bytes.get(8) == Some(&b'{') {
        tensors::parse(bytes, path)?.0
    } else if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(&[0x80]) {
        torch::parse(bytes, path)?.into_iter().collect()
    } else {
        let found =
            if bytes.is_empty() { "an empty file" } else { "a file of another kind, or a damaged one" };
        let try_this = "parsec export RUN --safetensors FILE, or torch.save(model.state_dict(), FILE)";
        return Err(Error::file(path, Some(0), WEIGHTS, found, try_this));
    };
    check_finite(&found, path)?;
    if found.contains_key("v.classifier.weight") {
        return Ok(found);
    }
    while let Some(wrapper) =
        WRAPPERS.iter().find(|w| !found.is_empty() && found.keys().all(|name| name.starts_with(*w)))
    {
        found = found.into_iter().map(|(name, tensor)| (name[wrapper.len()..].to_owned(), tensor)).collect();
    }
    for (name, Tensor { data, .. }) in &mut found {
        let Data::F64(numbers) = data else { continue };
        if let Some(i) = numbers.iter().position(|x| !(*x as f32).is_finite()) {
            let expected = format!("numbers in `{name}` that fit in 32-bit floats, at most {:.3e}", f32::MAX);
            let found = format!("{:e} at element {i}", numbers[i]);
            return Err(Error::file(
                path,
                None,
                expected,
                found,
                "weights of a training that did not diverge",
            ));
        }
        *data = Data::F32(numbers.iter().map(|x| *x as f32).collect());
    }
    Ok(found)
}

/// Checks that all floats are finite, and that no running variance is negative.
///
/// # Errors
/// [`Error::File`] with the name of the first tensor that has another number.
pub fn check_finite(tensors: &Tensors, path: &Path) -> Result<()> {
    for (name, tensor) in tensors {
        if let (true, Data::F32(v)) = (name.ends_with("running_var"), &tensor.data)
            && let Some(i) = v.iter().position(|x| *x < 0.0)
        {
            let expected = format!("variances in `{name}`, none below 0");
            let found = format!("{} at element {i}", v[i]);
            return Err(Error::file(path, None, expected, found, "the file as its training wrote it"));
        }
        let wrong = match &tensor.data {
            Data::F32(v) => v.iter().position(|x| !x.is_finite()).map(|i| (i, f64::from(v[i]))),
            Data::F64(v) => v.iter().position(|x| !x.is_finite()).map(|i| (i, v[i])),
            _ => None,
        };
        if let Some((i, x)) = wrong {
            let expected = format!("finite numbers in `{name}`");
            let hint = "weights of a training that did not diverge";
            return Err(Error::file(path, None, expected, format!("{x} at element {i}"), hint));
        }
    }
    Ok(())
}
