//! The `parsec` program: see `parsec --help`.

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
fn quiet_drivers() {
    if cfg!(unix) && std::env::var_os("XDG_RUNTIME_DIR").is_none_or(|folder| folder.is_empty()) {
        // SAFETY: no other thread runs yet.
        #[expect(unsafe_code, reason = "there is no other way to speak to the drivers' libraries")]
        unsafe {
            std::env::set_var("XDG_RUNTIME_DIR", std::env::temp_dir());
        }
    }
}
