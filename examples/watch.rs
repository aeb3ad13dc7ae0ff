//! Shows how another program can run a search: on a thread, with the events of the search in a channel. The program
//! pauses the search and lets it continue. The steps are bit for bit those of `parsec search` with the same settings.
//!
//!     cargo run --release --example watch -- RUN [STEPS]

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use parsec_nas::config::Config;
use parsec_nas::run::{Control, Event, Events};
use parsec_nas::search::Search;
use parsec_nas::{Error, Result, runner};
use toml::toml;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let path = PathBuf::from(args.next().unwrap_or_else(|| "runs/watch".into()));
    let steps: i64 = args.next().and_then(|n| n.parse().ok()).unwrap_or(20);

    // The keys are those of the TOML file of `parsec search`.
    let mut settings = toml! { samples = 2 };
    settings.insert("steps".into(), steps.into());
    let config = Config::resolve(None, &settings)?;

    let control = Arc::new(Control::new());
    let (tell, events) = mpsc::channel();
    let of_search = Arc::clone(&control);
    let search = std::thread::spawn(move || {
        let events = Events::new(move |event| _ = tell.send(event));
        runner::start::<Search>(config, &path, &events)?.drive(&of_search)
    });

    for event in events {
        match event {
            Event::Note(text) => println!("{text}"),
            Event::Warning(text) => println!("warning: {text}"),
            Event::Read { line, .. } => println!("{line}"),
            Event::Reading { .. } | Event::Compiling { .. } | Event::Stepped => {}
            Event::Step { progress, line } => {
                println!("step {} of {}: {} bytes of metrics", progress.step, progress.total, line.len());
                if progress.step == 2 {
                    control.pause();
                    println!("paused");
                    std::thread::sleep(Duration::from_millis(200));
                    control.go_on();
                }
            }
        }
    }
    match search.join() {
        Ok(Ok(found)) => println!("{found}"),
        Ok(Err(Error::Interrupted { step, .. })) => println!("stopped after step {step}"),
        Ok(Err(error)) => return Err(error),
        Err(_) => println!("the search's thread failed"),
    }
    Ok(())
}
