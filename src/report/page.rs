//! Sections of text, tables and drawings → one HTML file that loads nothing from elsewhere.

use std::fmt::Write as _;

use serde_json::json;

use super::plot::{COLOURS, INSET, Panel, SIZE, panels_svg, thinned};
use super::svg::escape;

const STYLE: &str = include_str!("../../assets/report/page.css");
const SCRIPT: &str = include_str!("../../assets/report/page.js");

/// A page that is being written. Every text is escaped.
pub struct Page {
    title: String,
    body: String,
    has_section: bool,
}

/// A cell of a table.
pub enum Cell {
    /// A text.
    Text(String),
    /// A number as text, at the right of its column.
    Number(String),
    /// A text that leads to a file beside the page.
    Link(String, String),
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::Text(text.into())
    }
}

impl Page {
    /// A page with a heading, and a line below it.
    pub fn new(title: &str, lead: &str) -> Self {
        let body = format!("<h1>{}</h1>\n<p class=\"lead\">{}</p>\n", escape(title), escape(lead));
        Self { title: title.into(), body, has_section: false }
    }

    /// Begins a section. The content that follows belongs to it.
    pub fn section(&mut self, title: &str) {
        self.end_section();
        self.line(&format!("<section>\n<h2>{}</h2>", escape(title)));
    }

    fn end_section(&mut self) {
        if std::mem::replace(&mut self.has_section, true) {
            self.line("</section>");
        }
    }

    fn line(&mut self, html: &str) {
        self.body += html;
        self.body.push('\n');
    }

    /// A paragraph.
    pub fn paragraph(&mut self, text: &str) {
        self.line(&format!("<p>{}</p>", escape(text)));
    }

    /// A short text in large letters.
    pub fn big(&mut self, text: &str) {
        self.line(&format!("<p class=\"big\">{}</p>", escape(text)));
    }

    /// Text with its line breaks, such as an architecture or commands.
    pub fn verbatim(&mut self, text: &str) {
        // Unlike other texts, it keeps its line breaks.
        let lines: Vec<String> = text.lines().map(escape).collect();
        self.line(&format!("<pre>{}</pre>", lines.join("\n")));
    }

    /// A list of doubts.
    pub fn doubts(&mut self, doubts: &[String]) {
        self.line("<ul class=\"doubts\">");
        for doubt in doubts {
            self.line(&format!("<li>{}</li>", escape(doubt)));
        }
        self.line("</ul>");
    }

    /// A table. Without heads, the first cell of each row is the head of the row.
    pub fn table(&mut self, heads: &[&str], rows: Vec<Vec<Cell>>) {
        let mut table = String::from("<div class=\"scroll\"><table>\n");
        if !heads.is_empty() {
            let cells: String =
                heads.iter().map(|head| format!("<th scope=\"col\">{}</th>", escape(head))).collect();
            // Writing to a string cannot fail.
            let _ = writeln!(table, "<tr>{cells}</tr>");
        }
        for row in rows {
            let mut line = String::new();
            for (i, cell) in row.into_iter().enumerate() {
                line += &match cell {
                    Cell::Text(text) if i == 0 && heads.is_empty() => {
                        format!("<th scope=\"row\">{}</th>", escape(&text))
                    }
                    Cell::Text(text) => format!("<td>{}</td>", escape(&text)),
                    Cell::Number(text) => format!("<td class=\"number\">{}</td>", escape(&text)),
                    Cell::Link(text, to) => {
                        format!("<td><a href=\"{}\">{}</a></td>", escape(&address(&to)), escape(&text))
                    }
                };
            }
            let _ = writeln!(table, "<tr>{line}</tr>");
        }
        self.line(&(table + "</table></div>"));
    }

    /// A table that is shown when its summary is clicked.
    pub fn folded_table(&mut self, summary: &str, heads: &[&str], rows: Vec<Vec<Cell>>) {
        self.line(&format!("<details><summary>{}</summary>", escape(summary)));
        self.table(heads, rows);
        self.line("</details>");
    }

    /// A drawing with a caption. A wide one is scrolled on a narrow screen, otherwise it becomes smaller.
    pub fn figure(&mut self, svg: &str, caption: &str, is_wide: bool) {
        let class = if is_wide { " class=\"wide\"" } else { "" };
        let caption = escape(caption);
        self.line(&format!(
            "<figure{class} aria-label=\"{caption}\">{svg}<figcaption>{caption}</figcaption></figure>"
        ));
    }

    /// Curves that show their numbers under the pointer.
    pub fn curves(&mut self, panels: &[Panel]) {
        self.line("<div class=\"curves\">");
        for panel in panels {
            let [x, _] = panel.axes();
            let series = panel.series.iter().zip(COLOURS.iter().cycle()).map(|(series, colour)| {
                let mut points = thinned(&series.line());
                points.retain(|(x, y)| x.is_finite() && y.is_finite());
                points.sort_by(|a, b| a.0.total_cmp(&b.0));
                let points: Vec<[f64; 2]> = points.iter().map(|(x, y)| [rounded(*x), rounded(*y)]).collect();
                json!({ "name": series.name, "colour": colour, "points": points })
            });
            let series: Vec<serde_json::Value> = series
                .filter(|series| series["points"].as_array().is_some_and(|points| !points.is_empty()))
                .collect();
            let label = if panel.x_label == "step" { "step" } else { "x =" };
            let data = json!({
                "x": [x.low, x.high], "frame": [SIZE.0, INSET[0], INSET[2]], "label": label, "series": series,
            });
            let data = if data["series"].as_array().is_some_and(Vec::is_empty) {
                String::new()
            } else {
                format!(" data-panel=\"{}\"", escape(&data.to_string()))
            };
            let title = escape(&panel.title);
            let svg = panels_svg(std::slice::from_ref(panel));
            self.line(&format!("<figure tabindex=\"0\" aria-label=\"{title}\"{data}>{svg}</figure>"));
        }
        self.line("</div>");
    }

    /// A slider over `steps`, which shows each of them and marks its place in the drawings of [`super::course_svg`].
    pub fn replay(&mut self, steps: &[ReplayStep]) {
        let Some(last) = steps.last() else { return };
        let first = steps.first().map_or(0, |first| first.step);
        let span = (last.step - first).max(1) as f64;
        let list: Vec<serde_json::Value> = steps
            .iter()
            .map(|s| {
                let share = (s.step - first) as f64 / span;
                json!({ "step": s.step, "entropy": rounded(s.entropy), "mode": s.mode, "share": rounded(share) })
            })
            .collect();
        let (data, n) = (escape(&json!(list).to_string()), steps.len() - 1);
        self.line(&format!(
            "<div class=\"replay\" data-target=\"mode\" data-steps=\"{data}\"><label for=\"step\">replay</label><input \
             id=\"step\" type=\"range\" min=\"0\" max=\"{n}\" value=\"{n}\"><output for=\"step\"></output></div>\n<pre \
             id=\"mode\">{}</pre>",
            escape(&last.mode)
        ));
        // Without scripts the last drawing is shown.
        let last_drawn = steps.iter().rposition(|step| !step.drawing.is_empty());
        for (i, step) in steps.iter().enumerate().filter(|(_, step)| !step.drawing.is_empty()) {
            let hidden = if Some(i) == last_drawn { "" } else { " hidden" };
            self.line(&format!(
                "<figure class=\"wide\" data-frame=\"{i}\"{hidden} aria-label=\"the prior after step {}\">{}</figure>",
                step.step, step.drawing
            ));
        }
    }

    /// The file.
    pub fn finish(mut self) -> String {
        self.end_section();
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
             content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
             <main>\n{}</main>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n",
            escape(&self.title),
            self.body
        )
    }
}

/// A step of a replay.
pub struct ReplayStep {
    /// The step; 0 is the start.
    pub step: u64,
    /// Entropy of the prior after the step, nats.
    pub entropy: f64,
    /// The prior's most probable architecture.
    pub mode: String,
    /// The drawing of the prior. Empty if the step shows that of the step before.
    pub drawing: String,
}

/// A number with six significant digits, to keep the file small.
fn rounded(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

/// A relative path as the address of a link.
fn address(path: &str) -> String {
    let mut address = String::new();
    for byte in path.replace('\\', "/").bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                address.push(byte as char)
            }
            other => {
                let _ = write!(address, "%{other:02X}");
            }
        }
    }
    address
}
