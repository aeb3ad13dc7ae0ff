//! Every failure that the library reports, as one typed enum.
//!
//! A message says what was expected, what was found, where, and what to try. The
//! library never panics on input; a panic is a bug. The exit code of the program follows from the variant:
//! 2 for wrong usage (flags, configuration keys and values), 130 after an interruption, 1 otherwise.

use std::path::{Path, PathBuf};

/// The crate's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure: the problem, its place, and a suggestion.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A flag, a configuration key or a value from the user is wrong.
    #[error("{what}: expected {expected}, found {found}{}", hint(.try_this))]
    Usage {
        /// The flag, key or value.
        what: String,
        /// Description of a correct value.
        expected: String,
        /// The given value.
        found: String,
        /// Suggestion for the user; may be empty.
        try_this: String,
    },

    /// A data, weights, checkpoint or other file has wrong content.
    #[error("{}{}: expected {expected}, found {found}{}", .path.display(), at(.offset), hint(.try_this))]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Position in the file in bytes, if known.
        offset: Option<u64>,
        /// Description of the correct content.
        expected: String,
        /// The content that was found.
        found: String,
        /// Suggestion for the user; may be empty.
        try_this: String,
    },

    /// The operating system refused to read or write something.
    #[error("cannot {action} {}: {source}{}", .path.display(), hint(.try_this))]
    Io {
        /// The action that failed, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
        /// Suggestion for the user; may be empty.
        try_this: String,
    },

    /// No adapter, an adapter that does not fit, or an adapter that failed.
    #[error("{what}{}", hint(.try_this))]
    Device {
        /// Description of the failure.
        what: String,
        /// Suggestion for the user; may be empty.
        try_this: String,
    },

    /// The adapter was lost during the work: its driver was reset or the card was removed. All data on it are gone.
    #[error(
        "{adapter} was lost: {message}\n  try: if it happens again, a newer driver, or a smaller --batch or --micro-batch"
    )]
    Lost {
        /// Name of the adapter.
        adapter: String,
        /// Message of the driver.
        message: String,
    },

    /// The work does not fit the adapter's memory or limits.
    #[error("{what}: needs {}, there is room for {}{}", mib(*.need_bytes), mib(*.have_bytes), hint(.try_this))]
    Memory {
        /// The object that needs the memory.
        what: String,
        /// Bytes that the object needs.
        need_bytes: u64,
        /// Bytes that are available.
        have_bytes: u64,
        /// Suggestion for the user; may be empty.
        try_this: String,
    },

    /// A loss or log-likelihood is not a finite number.
    #[error(
        "the log-likelihood of child {child} at step {step} is not finite ({value}); its genotype is {genotype}\n  try: \
         a lower --lr, or resume from the last checkpoint, which is untouched"
    )]
    NonFinite {
        /// The step, counted from 1.
        step: u64,
        /// Number of the child in the step, from 0.
        child: usize,
        /// Genotype of the child.
        genotype: String,
        /// The log-likelihood.
        value: f64,
    },

    /// The user interrupted the run. All steps up to `step` are saved.
    #[error("interrupted after step {step}; saved in {}\n  go on with: parsec resume {}", .run.display(), word(.run))]
    Interrupted {
        /// Number of steps done and saved.
        step: u64,
        /// The run folder.
        run: PathBuf,
    },

    /// A failure stopped the run. The saved checkpoints are intact.
    #[error("{source}\n  saved up to step {step}; go on with: parsec resume {}", word(.run))]
    Stopped {
        /// The failure.
        source: Box<Error>,
        /// The step of the newest checkpoint.
        step: u64,
        /// The run folder.
        run: PathBuf,
    },

    /// A shader does not parse, validate or bind. This is a bug in this crate.
    #[error("kernel {kernel}: {message}")]
    Kernel {
        /// Shader and entry point.
        kernel: String,
        /// Description of the problem.
        message: String,
    },

    /// A condition that must always hold does not hold. This is a bug in this crate.
    #[error("this is a bug in parsec: {what}\n  try: report it with the command and its configuration")]
    Internal {
        /// The condition that does not hold.
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

    /// A file has wrong content. `offset` is in bytes, if known.
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

    /// A condition that must always hold does not hold.
    pub fn internal(what: impl Into<String>) -> Self {
        Self::Internal { what: what.into() }
    }

    /// A failure of the adapter.
    pub fn device(what: impl Into<String>, try_this: impl Into<String>) -> Self {
        Self::Device { what: what.into(), try_this: try_this.into() }
    }

    /// The file or folder with wrong content, or the one that could not be read or written.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } | Self::Io { path, .. } => Some(path),
            _ => None,
        }
    }

    /// The exit code of the program: 2 for wrong usage, 130 after an interruption with saving, 1 otherwise.
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

/// `text` as one word of a command line.
pub fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-:+,@=~".contains(c);
    match text.chars().all(is_plain) {
        true => text.to_owned(),
        false if text.contains('\'') && !text.contains(['"', '$', '`', '\\', '!']) => format!("\"{text}\""),
        // A single quote ends the quoted text, and stands between two of them.
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// `path` as one word of a command line that is no flag.
pub fn word(path: &Path) -> String {
    let text = path.display().to_string();
    quoted(&if text.starts_with('-') { format!("./{text}") } else { text })
}

/// The candidate closest to `word`, if one is close. A candidate is close if the edit distance is at most a third of
/// the longer length plus one, or if the candidate begins with `word` and `word` has more than two letters.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    candidates
        .map(|c| (strsim::levenshtein(&word, c), c))
        .filter(|(d, c)| *d <= 1 + c.len().max(word.len()) / 3 || (word.len() > 2 && c.starts_with(&word)))
        .min()
        .map(|(_, c)| c)
}
