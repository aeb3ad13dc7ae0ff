//! Stem of a file in `shaders/` → its WGSL text, compiled into the program.
//!
//! A shader consists of the shared parts that its first line names (`//@use map, view`) and then its own file,
//! concatenated. A new shader needs a line in [`SOURCES`], and a new shared part needs a line in [`LIBS`].

/// One file of `shaders/`.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Stem of the file.
    pub name: &'static str,
    /// Text of the file.
    pub text: &'static str,
}

macro_rules! shader {
    ($name:literal) => {
        Source { name: $name, text: include_str!(concat!("../../shaders/", $name, ".wgsl")) }
    };
}

macro_rules! lib {
    ($name:literal) => {
        ($name, include_str!(concat!("../../shaders/lib/", $name, ".wgsl")))
    };
}

/// The shared parts: (stem, text).
pub const LIBS: &[(&str, &str)] = &[
    lib!("map"),
    lib!("view"),
    lib!("grad"),
    lib!("group"),
    lib!("task"),
    lib!("row"),
    lib!("tile"),
    lib!("store"),
    lib!("scalars"),
];

/// Every shader of the program.
pub const SOURCES: &[Source] = &[
    shader!("fill"),
    shader!("probe"),
    shader!("conv"),
    shader!("depthwise"),
    shader!("pointwise"),
    shader!("subsample"),
    shader!("pool"),
    shader!("batch_norm"),
    shader!("apply"),
    shader!("node"),
    shader!("mix"),
    shader!("window_pool"),
    shader!("global_pool"),
    shader!("linear"),
    shader!("cross_entropy"),
    shader!("reduce"),
    shader!("pack"),
    shader!("lane"),
    shader!("sgd"),
];

/// A number that changes with the text of any shader (FNV-1a).
pub fn fingerprint() -> u64 {
    let texts = LIBS.iter().map(|(_, text)| *text).chain(SOURCES.iter().map(|source| source.text));
    let bytes = texts.flat_map(|text| text.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

impl Source {
    /// The files that make up this shader, in order: (path for messages, text). The text is `None` if a lib does
    /// not exist.
    pub fn parts(&self) -> Vec<(String, Option<&'static str>)> {
        let used = self.text.lines().next().and_then(|line| line.strip_prefix("//@use "));
        let names = used.into_iter().flat_map(|list| list.split(", "));
        let lib = |name: &str| LIBS.iter().find(|(stem, _)| *stem == name).map(|(_, text)| *text);
        let mut parts: Vec<_> = names.map(|name| (format!("shaders/lib/{name}.wgsl"), lib(name))).collect();
        parts.push((format!("shaders/{}.wgsl", self.name), Some(self.text)));
        parts
    }
}
