//! Shapes → SVG text.

use std::fmt::Write;

/// Dark text and lines.
pub const INK: &str = "#1f2933";
/// Secondary text.
pub const GREY: &str = "#66727f";
/// Frames and grid lines.
pub const FAINT: &str = "#d5dbe1";

/// An SVG document that is being written. Lengths are in pixels.
pub struct Svg {
    width: f64,
    height: f64,
    body: String,
}

/// The part of a text that is at the given point.
#[derive(Clone, Copy)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    pub fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    /// Appends one line of SVG.
    pub fn line(&mut self, element: &str) {
        self.body.push_str(element);
        self.body.push('\n');
    }

    pub fn rect(&mut self, [x, y, w, h]: [f64; 4], radius: f64, fill: &str, stroke: &str) {
        let (x, y, w, h) = (n(x), n(y), n(w), n(h));
        self.line(&format!(
            r#"<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="{}" fill="{fill}" stroke="{stroke}"/>"#,
            n(radius)
        ));
    }

    pub fn path(&mut self, d: &str, stroke: &str, width: f64) {
        self.line(&format!(
            r#"<path d="{d}" fill="none" stroke="{stroke}" stroke-width="{}" stroke-linejoin="round"/>"#,
            n(width)
        ));
    }

    /// Writes a text whose middle height is at `y`.
    pub fn text(&mut self, (x, y): (f64, f64), size: f64, anchor: Anchor, fill: &str, text: &str) {
        self.raw_text((x, y), size, anchor, fill, "", &escape(text));
    }

    /// Writes a text turned by `degrees` about its point.
    pub fn turned(&mut self, (x, y): (f64, f64), size: f64, anchor: Anchor, degrees: f64, text: &str) {
        let turn = format!(r#" transform="rotate({} {} {})""#, n(degrees), n(x), n(y));
        self.raw_text((x, y), size, anchor, GREY, &turn, &escape(text));
    }

    /// Like [`Self::text`], with more attributes and with content that is already SVG.
    pub fn raw_text(
        &mut self,
        (x, y): (f64, f64),
        size: f64,
        anchor: Anchor,
        fill: &str,
        more: &str,
        content: &str,
    ) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        // The base line of digits and small letters is about a third of the size below the middle.
        let (x, y) = (n(x), n(y + 0.35 * size));
        self.line(&format!(
            r#"<text x="{x}" y="{y}" font-size="{}" text-anchor="{anchor}" fill="{fill}"{more}>{content}</text>"#,
            n(size)
        ));
    }

    /// The finished document, with a white background.
    pub fn finish(self) -> String {
        let (w, h) = (n(self.width.ceil()), n(self.height.ceil()));
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="0 0 {w} {h}" font-family="DejaVu Sans, Verdana, sans-serif">"#
        );
        let _ = writeln!(text, r##"<rect width="{w}" height="{h}" fill="#ffffff"/>"##);
        text + &self.body + "</svg>\n"
    }
}

/// A number with at most two decimals. The text is the same on every machine. A number that is not finite becomes 0.
pub fn n(value: f64) -> String {
    let rounded = if value.is_finite() { (value * 100.0).round() / 100.0 } else { 0.0 };
    // The sum avoids "-0".
    format!("{}", rounded + 0.0)
}

/// Text that is safe in content and attributes. Control characters are removed, because XML forbids them.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&apos;"),
            '\t' | '\n' | '\r' => safe.push(' '),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => safe.push(c),
        }
    }
    safe
}
