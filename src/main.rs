//! The `parsec` program: see `parsec --help`.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    quiet_drivers();
    match parsec_nas::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            parsec_nas::cli::remark(&format!("error: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

/// Mesa's drivers complain at every start if no folder for sockets is named, although this program shows nothing on a
/// screen. The drivers get a folder that does not exist. In a folder to which others may write, a socket of another
/// user could make the drivers wait.
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
