//! An unknown flag → the flag of the same command that was probably meant.
//!
//! The tips of `clap` compare letters only, look at other arguments on the line, and suggest to pass an unknown flag as
//! a value.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::{Command, CommandFactory};

use super::Cli;

/// Flags by the names that other programs give them.
const OTHER_NAMES: &[(&str, &[&str])] = &[
    ("learning-rate", &["lr"]),
    ("batch-size", &["batch"]),
    ("dataset", &["data"]),
    ("data-dir", &["data"]),
    ("gpu", &["device"]),
    ("output", &["run", "csv"]),
    ("output-dir", &["run"]),
    ("pretrained", &["weights", "weights-from"]),
    ("checkpoint", &["weights", "weights-from"]),
    ("workers", &["threads"]),
    ("num-workers", &["threads"]),
    ("seeds", &["seed"]),
    ("topk", &["top"]),
    ("top-k", &["top"]),
];

/// The error `error` about the command line `args`, with a right tip or without a tip.
pub(super) fn mended(mut error: Error, args: impl Iterator<Item = String>) -> Error {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return error };
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let flag = flag.trim_start_matches('-').to_owned();
    let mut command = Cli::command();
    command.build();
    let mut args = args.skip(1);
    let name = args.find(|arg| command.find_subcommand(arg).is_some());
    let command = name.and_then(|name| command.find_subcommand_mut(name)).cloned().unwrap_or(command);
    for tip in [ContextKind::SuggestedArg, ContextKind::Suggested] {
        error.remove(tip);
    }
    let near = near(&flag, &command).map(|near| format!("--{near}"));
    if let Some(near) = near {
        error.insert(ContextKind::SuggestedArg, ContextValue::String(near));
    }
    // The usage of `clap` at this place leaves out required flags.
    let usage: StyledStr = command.clone().render_usage();
    error.insert(ContextKind::Usage, ContextValue::StyledStr(usage));
    error
}

/// The long flag of `command` that is most like `flag`.
fn near(flag: &str, command: &Command) -> Option<String> {
    let names: Vec<&str> = command.get_arguments().filter_map(|arg| arg.get_long()).collect();
    let other = OTHER_NAMES.iter().filter(|(name, _)| *name == flag).flat_map(|(_, ours)| ours.iter());
    let mut other = other.filter(|ours| names.contains(ours));
    if let Some(ours) = other.next() {
        return Some((*ours).to_owned());
    }
    // Two letters that changed places are one mistake.
    let distances = names.iter().map(|name| (strsim::damerau_levenshtein(flag, name), *name));
    let close = |(d, name): &(usize, &str)| {
        *d <= 1 + flag.len().min(name.len()) / 4 || (flag.len() > 2 && name.starts_with(flag))
    };
    distances.filter(close).min().map(|(_, name)| name.to_owned())
}
