//! The `parsec` program: see `parsec --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    match parsec_nas::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
