//! The `parsec` program: see `parsec --help`.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    quiet_drivers();
    match parsec_nas::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// Mesa's drivers complain on every start where no folder for sockets is named, though nothing here is shown on a screen.
/// They are given one that does not exist: in one that others may write to, anybody's socket could keep them waiting.
fn quiet_drivers() {
    let named = std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|folder| Path::new(&folder).is_absolute());
    if cfg!(unix) && !named {
        // SAFETY: no other thread runs yet.
        #[expect(unsafe_code, reason = "there is no other way to speak to the drivers' libraries")]
        unsafe {
            std::env::set_var("XDG_RUNTIME_DIR", "/nonexistent");
        }
    }
}
