//! Counts of (class, predicted class) → a picture and a table in text.

use std::fmt::Write;

use super::svg::{Anchor, GREY, INK, Svg};
use crate::error::{Error, Result};

/// A picture with more classes than this cannot be read.
const MAX_CLASSES: usize = 400;
/// A table with more classes than this is too wide for a terminal.
const MAX_TABLE: usize = 20;
const BORDER: f64 = 24.0;
const NAMES: f64 = 110.0;
const HEAD: f64 = 30.0;

/// `matrix` \[class\]\[predicted class\] as a picture. Rows are the true classes. The colour of a field is its fraction
/// of the row, the number is the count.
///
/// # Errors
/// [`Error::Usage`] if there are more classes than a picture can show.
pub fn confusion_svg(names: &[String], matrix: &[Vec<u64>]) -> Result<String> {
    let n = matrix.len();
    if n > MAX_CLASSES {
        let try_this = "leave the picture out; --json has the numbers";
        let expected = format!("at most {MAX_CLASSES} classes in a picture");
        return Err(Error::usage("--svg and --png", expected, n.to_string(), try_this));
    }
    let field = (900.0 / n.max(1) as f64).clamp(2.0, 34.0);
    let (left, top) = (BORDER + NAMES, BORDER + HEAD);
    let side = field * n as f64;
    let mut svg = Svg::new(left + side + BORDER, top + side + NAMES + BORDER);
    svg.text((left + side / 2.0, BORDER), 14.0, Anchor::Middle, INK, "rows: class, columns: taken for");
    for (class, row) in matrix.iter().enumerate() {
        let y = top + field * class as f64;
        let total = row.iter().sum::<u64>().max(1) as f64;
        for (taken_for, &count) in row.iter().enumerate() {
            let x = left + field * taken_for as f64;
            let share = count as f64 / total;
            svg.rect([x, y, field, field], 0.0, &shade(share, class == taken_for), "none");
            if count > 0 && field >= 16.0 {
                let ink = if share > 0.5 { "#ffffff" } else { INK };
                let size = (field / 3.0).min(10.0);
                svg.text((x + field / 2.0, y + field / 2.0), size, Anchor::Middle, ink, &count.to_string());
            }
        }
        if field >= 8.0 {
            let name = short(names, class);
            let (size, middle) = (field.min(11.0), field / 2.0);
            svg.text((left - 6.0, y + middle), size, Anchor::End, GREY, &name);
            let below = (left + field * class as f64 + middle, top + side + 6.0);
            svg.turned(below, size, Anchor::End, -55.0, &name);
        }
    }
    Ok(svg.finish())
}

/// White at 0, full blue on the diagonal and full orange elsewhere at 1. The square root makes small fractions visible.
fn shade(share: f64, right: bool) -> String {
    let full = if right { [20.0, 74.0, 140.0] } else { [190.0, 80.0, 10.0] };
    let mix = |from: f64, to: f64| (from + share.clamp(0.0, 1.0).sqrt() * (to - from)).round() as u8;
    let [r, g, b] = full;
    format!("#{:02x}{:02x}{:02x}", mix(250.0, r), mix(252.0, g), mix(255.0, b))
}

fn short(names: &[String], class: usize) -> String {
    let name = names.get(class).cloned().unwrap_or_else(|| class.to_string());
    if name.chars().count() <= 16 { name } else { name.chars().take(15).chain(['…']).collect() }
}

/// The matrix as text: a table for few classes, the most frequent errors for many.
pub fn confusion_text(names: &[String], matrix: &[Vec<u64>]) -> String {
    let mut text = String::new();
    let n = matrix.len();
    if n <= MAX_TABLE {
        let digits = matrix.iter().flatten().map(|count| count.to_string().len()).max().unwrap_or(1).max(2);
        let wide = (0..n).map(|c| short(names, c).chars().count()).max().unwrap_or(0);
        let _ = write!(text, "{:>wide$}  taken for", "class");
        for (class, row) in matrix.iter().enumerate() {
            let _ = write!(text, "\n{:>wide$} ", short(names, class));
            for (taken_for, count) in row.iter().enumerate() {
                // The correct predictions are in brackets.
                let (open, close) = if class == taken_for { ('[', ']') } else { (' ', ' ') };
                let _ = write!(text, "{open}{count:>digits$}{close}");
            }
        }
        return text;
    }
    let mut errors: Vec<(u64, usize, usize)> = Vec::new();
    for (class, row) in matrix.iter().enumerate() {
        let wrong = row.iter().enumerate().filter(|(k, count)| *k != class && **count > 0);
        errors.extend(wrong.map(|(k, count)| (*count, class, k)));
    }
    errors.sort_by_key(|&(count, class, k)| (std::cmp::Reverse(count), class, k));
    text.push_str("most frequent errors");
    for (count, class, k) in errors.into_iter().take(MAX_TABLE) {
        let _ = write!(text, "\n{count:>6}  {} taken for {}", short(names, class), short(names, k));
    }
    text
}
