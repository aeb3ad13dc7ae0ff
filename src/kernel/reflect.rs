//! A shader's text → a validated naga module and, per entry point, the bindings that `gpu` must provide.
//!
//! Workgroup sizes, binding numbers and kinds are defined by the shader only, and Rust reads them here. Validation
//! grants no capability beyond core WebGPU, and every entry point must keep within WebGPU's default limits. So a
//! shader that passes on one machine passes on all.

use std::sync::OnceLock;

use naga::valid::{Capabilities, GlobalUse, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Handle, StorageAccess};

use super::params::Member;
use super::source::{SOURCES, Source};
use super::specialise::{specialise, texture_names};
use crate::{Error, Result};

/// How a global variable is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `var<uniform>`.
    Uniform,
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    ReadWrite,
}

/// A global variable that an entry point uses.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    /// The variable's name.
    pub name: String,
    /// The `@binding` number in group 0.
    pub number: u32,
    /// How the variable is bound.
    pub kind: Kind,
    /// Minimum bytes of a bound range: the size of the type, where a runtime-sized array counts as one element.
    pub min_bytes: u64,
    /// Whether the entry point writes the variable with some values of its overrides.
    pub is_written: bool,
}

/// One compute entry point.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Name of the entry point.
    pub name: String,
    /// Invocations per workgroup in x, y, z.
    pub workgroup_size: [u32; 3],
    /// Variables that the entry point uses, including `params`, by binding number.
    pub bindings: Vec<Binding>,
}

impl Entry {
    /// Whether the entry point writes the variable `name`.
    pub fn writes(&self, name: &str) -> bool {
        self.bindings.iter().any(|b| b.name == name && b.is_written)
    }
}

/// A parsed and validated shader.
#[derive(Debug)]
pub struct Kernel {
    /// Stem of the file in `shaders/`.
    pub name: String,
    /// The full text: libs, then the file.
    pub text: String,
    /// The module that naga parsed.
    pub module: naga::Module,
    /// Result of naga's validation.
    pub info: ModuleInfo,
    /// The entry points, in the file's order.
    pub entries: Vec<Entry>,
    /// Variables that may be read through textures, in the file's order.
    pub textures: Vec<String>,
    /// The `override` constants: the name, and whether there is a default.
    pub overrides: Vec<(String, bool)>,
    /// The members of the uniform `params`, in the shader's order; empty if there is no such uniform.
    pub params: Vec<Member>,
    /// Length of `params` in words.
    pub params_words: usize,
}

impl Kernel {
    /// The entry point called `name`. Error: [`Error::Kernel`], which lists the entry points that exist.
    pub fn entry(&self, name: &str) -> Result<&Entry> {
        self.entries.iter().find(|e| e.name == name).ok_or_else(|| {
            let there: Vec<_> = self.entries.iter().map(|e| e.name.as_str()).collect();
            error(&self.name, format!("no entry point {name:?}; it has {}", there.join(", ")))
        })
    }

    /// The text of one entry point, with these values of `override` constants and with marked loops written out.
    /// Error: [`Error::Kernel`].
    pub fn specialised(&self, entry: &str, overrides: &[(&str, u32)]) -> Result<String> {
        specialise(&self.text, entry, overrides).map_err(|m| error(&self.name, m))
    }
}

/// The shader `name` of [`SOURCES`], parsed once per process. Error: [`Error::Kernel`].
pub fn kernel(name: &str) -> Result<&'static Kernel> {
    static CACHE: [OnceLock<Result<Kernel, String>>; SOURCES.len()] =
        [const { OnceLock::new() }; SOURCES.len()];
    let (source, cell) = SOURCES
        .iter()
        .zip(&CACHE)
        .find(|(source, _)| source.name == name)
        .ok_or_else(|| error(name, "no such shader in kernel::SOURCES"))?;
    let parsed = cell.get_or_init(|| {
        reflect(source).map_err(|e| match e {
            Error::Kernel { message, .. } => message,
            other => other.to_string(),
        })
    });
    parsed.as_ref().map_err(|message| error(name, message.clone()))
}

/// Parses, validates and reflects one shader. Error: [`Error::Kernel`] with file, line and column.
pub fn reflect(source: &Source) -> Result<Kernel> {
    let mut parts = Vec::new();
    for (path, text) in source.parts() {
        let text = text.ok_or_else(|| error(source.name, format!("{path} is not in kernel::LIBS")))?;
        parts.push((path, text));
    }
    let text: String = parts.iter().map(|(_, text)| *text).collect();
    let place = |location: Option<naga::SourceLocation>| match location {
        Some(at) => locate(&parts, at.offset as usize),
        None => format!("shaders/{}.wgsl", source.name),
    };

    let module = naga::front::wgsl::parse_str(&text)
        .map_err(|e| error(source.name, format!("{}: {}", place(e.location(&text)), e.message())))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .map_err(|e| error(source.name, format!("{}: {}", place(e.location(&text)), chain(e.as_inner()))))?;

    let mut entries = Vec::new();
    for (i, point) in module.entry_points.iter().enumerate() {
        let used = info.get_entry_point(i);
        let globals = module.global_variables.iter().filter(|(h, _)| !used[*h].is_empty());
        let globals = globals.map(|(h, _)| (h, used[h].contains(GlobalUse::WRITE)));
        entries.push(
            entry(&module, point, globals)
                .map_err(|m| error(source.name, format!("entry point {}: {m}", point.name)))?,
        );
    }
    let overrides = module
        .overrides
        .iter()
        .map(|(_, o)| (o.name.clone().unwrap_or_default(), o.init.is_some()))
        .collect();
    let (params, params_words) = params(&module);
    Ok(Kernel {
        name: source.name.into(),
        params,
        params_words,
        textures: texture_names(&text),
        text,
        module,
        info,
        entries,
        overrides,
    })
}

fn entry(
    module: &naga::Module,
    point: &naga::EntryPoint,
    globals: impl Iterator<Item = (Handle<naga::GlobalVariable>, bool)>,
) -> Result<Entry, String> {
    if point.stage != naga::ShaderStage::Compute || point.workgroup_size_overrides.is_some() {
        return Err("only compute with a constant workgroup size is supported".into());
    }
    let (mut bindings, mut shared_bytes) = (Vec::new(), 0);
    for (handle, is_written) in globals {
        let var = &module.global_variables[handle];
        // naga treats a runtime-sized array as one element.
        let min_bytes = u64::from(module.types[var.ty].inner.size(module.to_ctx()));
        let kind = match var.space {
            AddressSpace::Uniform => Kind::Uniform,
            AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => Kind::ReadWrite,
            AddressSpace::Storage { .. } => Kind::Read,
            AddressSpace::WorkGroup => {
                shared_bytes += min_bytes;
                continue;
            }
            _ => continue,
        };
        let name = var.name.clone().unwrap_or_default();
        match var.binding {
            Some(naga::ResourceBinding { group: 0, binding: number }) => {
                bindings.push(Binding { name, number, kind, min_bytes, is_written });
            }
            _ => return Err(format!("variable {name} is not in group 0")),
        }
    }
    bindings.sort_by_key(|b| b.number);
    let n_storage = bindings.iter().filter(|b| b.kind != Kind::Uniform).count();
    let invocations: u32 = point.workgroup_size.iter().product();
    for (what, found, limit) in [
        ("storage buffers", n_storage as u64, 8),
        ("bytes of workgroup memory", shared_bytes, 16_384),
        ("invocations per workgroup", u64::from(invocations), 256),
    ] {
        if found > limit {
            return Err(format!("{found} {what}; WebGPU guarantees {limit}"));
        }
    }
    Ok(Entry { name: point.name.clone(), workgroup_size: point.workgroup_size, bindings })
}

/// The members of the uniform `params`, and the length of the uniform in words.
fn params(module: &naga::Module) -> (Vec<Member>, usize) {
    let uniform = module.global_variables.iter().find(|(_, var)| var.name.as_deref() == Some("params"));
    let Some((_, uniform)) = uniform else { return Default::default() };
    let naga::TypeInner::Struct { members, span } = &module.types[uniform.ty].inner else {
        return Default::default();
    };
    let member = |m: &naga::StructMember| Member {
        name: m.name.clone().unwrap_or_default(),
        first: m.offset as usize / 4,
        len: module.types[m.ty].inner.size(module.to_ctx()) as usize / 4,
    };
    (members.iter().map(member).collect(), *span as usize / 4)
}

/// The place of byte `offset` of the joined text: file:line:column, and the line.
fn locate(parts: &[(String, &str)], mut offset: usize) -> String {
    for (path, text) in parts {
        if offset < text.len() {
            let before = &text[..offset];
            let start = before.rfind('\n').map_or(0, |i| i + 1);
            let line = text[start..].lines().next().unwrap_or_default();
            let (row, column) = (before.matches('\n').count() + 1, offset - start + 1);
            return format!("{path}:{row}:{column}: `{}`", line.trim());
        }
        offset -= text.len();
    }
    "at the end".into()
}

/// An error and its sources on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(&format!(": {inner}"));
        source = inner.source();
    }
    text
}

pub(crate) fn error(kernel: &str, message: impl Into<String>) -> Error {
    Error::Kernel { kernel: kernel.into(), message: message.into() }
}
