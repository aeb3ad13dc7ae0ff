//! A window of the system around the content. Its device is its own, so that it does not wait for a run's submissions.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use eframe::{CreationContext, NativeOptions, Storage};
use egui::{Context, Ui, ViewportBuilder};

use super::{App, Ended, Frames, Remembered, Start};
use crate::error::{Error, Result};
use crate::gpu;
use crate::host::thread;

/// The key of what is remembered in eframe's storage.
const REMEMBERED: &str = "parsec";

/// By a software adapter the window is drawn this often while a run goes on.
const SOFTWARE_PERIOD: Duration = Duration::from_secs(3);

/// A window that was closed.
#[derive(Default)]
pub struct Closed {
    /// The end of the last run that it drove.
    pub ended: Option<Ended>,
    /// Times of its frames.
    pub frames: Frames,
}

/// Opens a window with `start`, and waits until it is closed.
///
/// # Errors
/// [`Error::Device`] if there is no display.
pub fn open(start: Start) -> Result<Closed> {
    let viewport = ViewportBuilder::default()
        .with_title("parsec")
        .with_app_id("parsec")
        .with_inner_size([1280.0, 720.0])
        .with_min_inner_size([640.0, 400.0]);
    let options = NativeOptions {
        viewport,
        dithering: false,
        event_loop_builder: event_loop_builder(),
        ..NativeOptions::default()
    };
    let closed = Rc::new(RefCell::new(Closed::default()));
    let at_end = Rc::clone(&closed);
    let create = move |creation: &CreationContext<'_>| {
        let remembered = creation.storage.and_then(remembered).unwrap_or_default();
        // Requests to the process come without an event of the window.
        let (stop, context) = (start.outside.stop, creation.egui_ctx.clone());
        thread::spawn(move || {
            while !stop() {
                thread::sleep(Duration::from_millis(200));
            }
            context.request_repaint();
        });
        let is_software =
            creation.wgpu_render_state.as_ref().is_some_and(|state| gpu::is_software(&state.adapter));
        let period = if is_software { SOFTWARE_PERIOD } else { start.period };
        let start = Start { remembered, pick_folder: Some(pick_folder), period, ..start };
        let app = App::new(&creation.egui_ctx, start);
        let boxed: Box<dyn eframe::App> = Box::new(Native { app, closed: at_end });
        Ok(boxed)
    };
    eframe::run_native("parsec", options, Box::new(create)).map_err(|e| no_window(&e.to_string()))?;
    Ok(closed.take())
}

/// The libraries of Wayland tell nothing of dropped files yet. A desktop with Wayland usually has X11 too, and there files
/// can be dropped.
#[cfg(target_os = "linux")]
fn event_loop_builder() -> Option<eframe::EventLoopBuilderHook> {
    use winit::platform::x11::EventLoopBuilderExtX11;

    std::env::var_os("DISPLAY").filter(|display| !display.is_empty())?;
    Some(Box::new(|builder| {
        builder.with_x11();
    }))
}

#[cfg(not(target_os = "linux"))]
fn event_loop_builder() -> Option<eframe::EventLoopBuilderHook> {
    None
}

fn no_window(reason: &str) -> Error {
    // Before the last colon there may be a place in the sources of a library.
    let reason = reason.rsplit(": ").next().unwrap_or(reason);
    Error::device(
        format!("cannot open a window: {reason}"),
        "a desktop; without one, parsec report RUN writes a page about a run, and --tensorboard lets another machine watch",
    )
}

fn remembered(storage: &dyn Storage) -> Option<Remembered> {
    serde_json::from_str(&storage.get_string(REMEMBERED)?).ok()
}

struct Native {
    app: App,
    closed: Rc<RefCell<Closed>>,
}

impl eframe::App for Native {
    fn logic(&mut self, context: &Context, _frame: &mut eframe::Frame) {
        self.app.tick(context);
    }

    fn ui(&mut self, ui: &mut Ui, _frame: &mut eframe::Frame) {
        self.app.ui(ui);
    }

    fn save(&mut self, storage: &mut dyn Storage) {
        if let Ok(text) = serde_json::to_string(self.app.remembered()) {
            storage.set_string(REMEMBERED, text);
        }
    }

    fn on_exit(&mut self) {
        *self.closed.borrow_mut() = Closed { ended: self.app.take_end(), frames: self.app.frames() };
    }
}

/// Asks for a folder by the dialog of the system.
fn pick_folder(context: &Context) -> Receiver<Option<PathBuf>> {
    let (tell, told) = channel();
    // The dialog is made on this thread, as macOS demands. Another one waits for it.
    let dialog = rfd::AsyncFileDialog::new().pick_folder();
    let context = context.clone();
    thread::spawn(move || {
        let folder = gpu::wait(dialog).map(|folder| folder.path().to_owned());
        // Nobody may be waiting any more.
        _ = tell.send(folder);
        context.request_repaint();
    });
    told
}
