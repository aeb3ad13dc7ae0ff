//! Every failure the library reports, as one typed enum.
//!
//! A message says what was expected, what was found, where, and what to try. Nothing in the
//! library panics on input; a panic is a bug. The exit code of the program follows from the variant:
//! 2 for wrong usage (flags, configuration keys and values), 130 after an interruption, 1 otherwise.

use std::path::{Path, PathBuf};

/// The crate's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, where, and what to try.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A flag, a configuration key or a value given by the user makes no sense.
    #[error("{what}: expected {expected}, found {found}{}", hint(.try_this))]
    Usage {
        /// The flag, key or value.
        what: String,
        /// What would be right.
        expected: String,
        /// What was given.
        found: String,
        /// What to do about it; may be empty.
        try_this: String,
    },

    /// A data, weights, checkpoint or other file whose content is not what it should be.
    #[error("{}{}: expected {expected}, found {found}{}", .path.display(), at(.offset), hint(.try_this))]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Where in it, in bytes, if that is known.
        offset: Option<u64>,
        /// What would be right.
        expected: String,
        /// What is there.
        found: String,
        /// What to do about it; may be empty.
        try_this: String,
    },

    /// The operating system refused to read or write something.
    #[error("cannot {action} {}: {source}{}", .path.display(), hint(.try_this))]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
        /// What to do about it; may be empty.
        try_this: String,
    },

    /// No adapter, an adapter that does not fit, or an adapter that failed.
    #[error("{what}{}", hint(.try_this))]
    Device {
        /// What happened.
        what: String,
        /// What to do about it; may be empty.
        try_this: String,
    },

    /// The adapter went away in mid-work: its driver was reset, the card was removed. Nothing on it is left.
    #[error(
        "{adapter} was lost: {message}\n  try: if it happens again, a newer driver, or a smaller --batch or --micro-batch"
    )]
    Lost {
        /// The adapter's name.
        adapter: String,
        /// What the driver said.
        message: String,
    },

    /// The work does not fit the adapter's memory or limits.
    #[error("{what}: needs {}, there is room for {}{}", mib(*.need_bytes), mib(*.have_bytes), hint(.try_this))]
    Memory {
        /// What needs the memory.
        what: String,
        /// How much it needs.
        need_bytes: u64,
        /// How much there is.
        have_bytes: u64,
        /// What to do about it; may be empty.
        try_this: String,
    },

    /// A loss or log-likelihood that is not a finite number.
    #[error(
        "the log-likelihood of child {child} at step {step} is not finite ({value}); its genotype is {genotype}\n  try: \
         a lower --lr, or resume from the last checkpoint, which is untouched"
    )]
    NonFinite {
        /// The step, counted from 1.
        step: u64,
        /// Which of its children, from 0.
        child: usize,
        /// That child's genotype.
        genotype: String,
        /// The log-likelihood.
        value: f64,
    },

    /// The user interrupted the run; everything up to `step` is saved.
    #[error("interrupted after step {step}; saved in {}\n  go on with: parsec resume {}", .run.display(), .run.display())]
    Interrupted {
        /// Steps done and saved.
        step: u64,
        /// The run folder.
        run: PathBuf,
    },

    /// A run was stopped by a failure; what was saved of it is whole.
    #[error("{source}\n  saved up to step {step}; go on with: parsec resume {}", .run.display())]
    Stopped {
        /// The failure.
        source: Box<Error>,
        /// The step of the newest checkpoint.
        step: u64,
        /// The run folder.
        run: PathBuf,
    },

    /// A shader that does not parse, validate or bind: a bug in this crate.
    #[error("kernel {kernel}: {message}")]
    Kernel {
        /// Shader and entry point.
        kernel: String,
        /// What is wrong with it.
        message: String,
    },

    /// What must always hold does not: a bug in this crate.
    #[error("this is a bug in parsec: {what}\n  try: report it with the command and its configuration")]
    Internal {
        /// What does not hold.
        what: String,
    },
}

impl Error {
    /// Wrong usage: `what` was expected to be `expected`, but `found` was given.
    pub fn usage(
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
        try_this: impl Into<String>,
    ) -> Self {
        Self::Usage {
            what: what.into(),
            expected: expected.into(),
            found: found.into(),
            try_this: try_this.into(),
        }
    }

    /// A file whose content is wrong; `offset` in bytes where it is known.
    pub fn file(
        path: impl AsRef<Path>,
        offset: Option<u64>,
        expected: impl Into<String>,
        found: impl Into<String>,
        try_this: impl Into<String>,
    ) -> Self {
        Self::File {
            path: path.as_ref().to_owned(),
            offset,
            expected: expected.into(),
            found: found.into(),
            try_this: try_this.into(),
        }
    }

    /// An operating-system error while doing `action` ("read", "write", ...) on `path`.
    pub fn io(action: &'static str, path: impl AsRef<Path>, source: std::io::Error) -> Self {
        let try_this = match source.kind() {
            std::io::ErrorKind::NotFound => "check the path",
            std::io::ErrorKind::PermissionDenied => "check the permissions, or choose another path",
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                "free some space; what was saved before is untouched"
            }
            _ => "",
        };
        Self::Io { action, path: path.as_ref().to_owned(), source, try_this: try_this.into() }
    }

    /// Something that must always hold does not.
    pub fn internal(what: impl Into<String>) -> Self {
        Self::Internal { what: what.into() }
    }

    /// A failure of the adapter.
    pub fn device(what: impl Into<String>, try_this: impl Into<String>) -> Self {
        Self::Device { what: what.into(), try_this: try_this.into() }
    }

    /// The exit code of the program: 2 wrong usage, 130 interrupted after saving, 1 anything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. } => 2,
            Self::Interrupted { .. } => 130,
            _ => 1,
        }
    }
}

fn hint(try_this: &str) -> String {
    if try_this.is_empty() { String::new() } else { format!("\n  try: {try_this}") }
}

fn at(offset: &Option<u64>) -> String {
    offset.map(|o| format!(" at byte {o}")).unwrap_or_default()
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}

/// The candidate closest to `word`, if one is close: at most a third of its letters differ, or it
/// begins with `word`.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    candidates
        .map(|c| (strsim::levenshtein(&word, c), c))
        .filter(|(d, c)| *d <= 1 + c.len().max(word.len()) / 3 || (word.len() > 2 && c.starts_with(&word)))
        .min()
        .map(|(_, c)| c)
}
