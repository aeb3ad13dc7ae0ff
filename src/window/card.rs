//! The data of a new run → a card: what was read, what was passed over, the classes with their numbers, some images.

use egui::{
    Color32, ColorImage, Context, Image, ProgressBar, RichText, TextureHandle, TextureOptions, Ui, vec2,
};

use super::task::Task;
use crate::data::{Dataset, Images, Size};
use crate::error::Result;
use crate::runner::open::{self, Wanted};

/// Number of images on a card, and of rows of classes.
const N_IMAGES: usize = 24;
const N_CLASSES: usize = 100;
/// Side of an image on the card, points.
const SIDE: f32 = 40.0;

/// What a card shows.
struct About {
    line: String,
    passed_over: String,
    /// Name and number of training images of each class.
    classes: Vec<(String, usize)>,
    /// Some training images with the name of their class.
    images: Vec<(ColorImage, String)>,
}

/// The card of the data with one specification.
pub struct Card {
    spec: String,
    size: String,
    task: Task<About>,
    textures: Vec<(TextureHandle, String)>,
}

impl Card {
    /// Reads the data.
    pub fn new(spec: &str, size: &str, skip_bad: bool, context: &Context) -> Self {
        let (data, given) = (spec.to_owned(), size.to_owned());
        let task = Task::new("reading the data", context, move |events| {
            let size = read_size(&given);
            let wanted = Wanted { size, skip_bad, ..Wanted::at(&data) };
            about(&open::dataset(&wanted, events)?)
        });
        Self { spec: spec.to_owned(), size: size.to_owned(), task, textures: vec![] }
    }

    /// Whether the card is that of these data.
    pub fn is_of(&self, spec: &str, size: &str) -> bool {
        self.spec == spec && self.size == size
    }

    /// Shows the card.
    pub fn show(&mut self, ui: &mut Ui) {
        if let Some(doing) = self.task.doing() {
            ui.horizontal(|ui| {
                ui.spinner();
                ui.label(doing);
            });
            return;
        }
        for warning in self.task.warnings() {
            ui.colored_label(ui.visuals().warn_fg_color, warning);
        }
        let (task, textures) = (&self.task, &mut self.textures);
        task.result(|result| match result {
            Err(error) => {
                ui.colored_label(ui.visuals().error_fg_color, error);
            }
            Ok(about) => show(ui, about, textures),
        });
    }
}

fn show(ui: &mut Ui, about: &About, textures: &mut Vec<(TextureHandle, String)>) {
    ui.label(&about.line);
    if !about.passed_over.is_empty() {
        let text = format!("passed over: {}", about.passed_over);
        ui.colored_label(ui.visuals().warn_fg_color, text);
    }
    if textures.is_empty() {
        let load = |(image, class): &(ColorImage, String)| {
            (ui.ctx().load_texture(class, image.clone(), TextureOptions::NEAREST), class.clone())
        };
        textures.extend(about.images.iter().map(load));
    }
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(2.0, 2.0);
        for (texture, class) in textures.iter() {
            let image =
                Image::new((texture.id(), texture.size_vec2())).alt_text(format!("an image of {class}"));
            ui.add(image.fit_to_exact_size(vec2(SIDE, SIDE))).on_hover_text(class);
        }
    });
    let most = about.classes.iter().map(|(_, n)| *n).max().unwrap_or(1).max(1);
    ui.collapsing(format!("{} classes", about.classes.len()), |ui| {
        for (name, n) in about.classes.iter().take(N_CLASSES) {
            let text = RichText::new(format!("{name}: {n}")).small();
            ui.add(ProgressBar::new(*n as f32 / most as f32).text(text).desired_height(15.0));
        }
        if about.classes.len() > N_CLASSES {
            ui.weak(format!("and {} more", about.classes.len() - N_CLASSES));
        }
    });
}

/// A size as the form has it. A wrong one is the form's error.
pub fn read_size(text: &str) -> Option<Size> {
    let sides: Option<Vec<usize>> = text.split(',').map(|side| side.trim().parse().ok()).collect();
    match sides.as_deref() {
        Some([side]) => Some(Size::square(*side)),
        Some([height, width]) => Some(Size { height: *height, width: *width }),
        _ => None,
    }
}

fn about(dataset: &Dataset) -> Result<About> {
    let mut counts = vec![0; dataset.class_names.len()];
    for label in &dataset.train.labels {
        counts[usize::from(*label)] += 1;
    }
    let n = dataset.train.n;
    // Evenly over the file order, which is often by class.
    let members = (0..N_IMAGES.min(n)).map(|i| i * n / N_IMAGES.min(n));
    let image = |i: usize| -> Result<(ColorImage, String)> {
        let class = &dataset.class_names[usize::from(dataset.train.labels[i])];
        Ok((coloured(&dataset.train, &dataset.train.image(i)?), class.clone()))
    };
    Ok(About {
        line: dataset.account.to_string(),
        passed_over: dataset.account.passed_over(),
        classes: dataset.class_names.iter().cloned().zip(counts).collect(),
        images: members.map(image).collect::<Result<_>>()?,
    })
}

/// The bytes `[C][H][W]` of an image of `images` as colours. Of other than one or three channels the first is shown.
pub fn coloured(images: &Images, bytes: &[u8]) -> ColorImage {
    let area = images.height * images.width;
    let part = |channel: usize, i: usize| bytes[if images.channels == 3 { channel * area + i } else { i }];
    let pixels = (0..area).map(|i| Color32::from_rgb(part(0, i), part(1, i), part(2, i)));
    ColorImage::new([images.width, images.height], pixels.collect())
}
