//! WGSL text → validated modules with reflected bindings. Also launches as plain data.
//!
//! Everything here goes by names: a shader by its stem, a binding by its variable's name, a constant by its
//! `override` name. Nothing in this module knows a GPU.

pub mod launch;
pub mod params;
pub mod reflect;
pub mod source;
pub mod specialise;
pub mod translate;

pub use launch::{Buf, Launch, Range};
pub use params::{Member, Params};
pub use reflect::{Binding, Entry, Kernel, Kind, kernel, reflect};
pub use source::{LIBS, SOURCES, Source};
pub use translate::{Translations, translate};
