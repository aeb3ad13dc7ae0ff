//! The curves and the children of one run or of two, as plots.

use egui::{Color32, Sense, Ui, vec2};
use egui_plot::{Line, Plot, PlotPoints, Points, VLine};

use super::app::Named;
use crate::report::plot::{COLOURS, Panel, Series, Style};

/// Height of a plot, points.
const HEIGHT: f32 = 150.0;
/// The curve of the smoothed numbers is drawn over the raw ones, which are as faint as this.
const FAINT: f32 = 0.25;

/// Shows the curves. Those of two runs are in the same plots. `step`: the step of the replay.
pub fn curves(ui: &mut Ui, runs: &[Named], step: Option<f64>) {
    let mut titles: Vec<&str> = Vec::new();
    for panel in runs.iter().flat_map(|(_, run)| &run.curves) {
        if !titles.contains(&panel.title.as_str()) {
            titles.push(&panel.title);
        }
    }
    for title in titles {
        let panels = runs.iter().enumerate().filter_map(|(i, (name, run))| {
            run.curves.iter().find(|panel| panel.title == title).map(|panel| (i, name, panel))
        });
        let panels: Vec<_> = panels.collect();
        let Some((_, _, first)) = panels.first() else { continue };
        let heading = match first.y_label.as_str() {
            "" => title.to_owned(),
            unit => format!("{title}, {unit}"),
        };
        ui.add_space(4.0);
        ui.strong(heading);
        let is_over_steps = first.x_label == "step";
        let lines: Vec<Curve<'_>> = panels
            .iter()
            .flat_map(|(i, name, panel)| lines(*i, (runs.len() > 1).then_some(*name), panel))
            .collect();
        legend(ui, lines.iter().map(|line| (line.name.as_str(), line.colour)));
        let mut plot = Plot::new(title).height(HEIGHT).allow_scroll(false);
        if !is_over_steps {
            plot = plot.x_axis_label(first.x_label.as_str());
        }
        plot.show(ui, |plot| {
            for Curve { name, colour, series } in &lines {
                let points = || PlotPoints::from_iter(series.points.iter().map(|p| [p.0, p.1]));
                let is_raw = series.style == Style::Smoothed;
                let shade = if is_raw { colour.gamma_multiply(FAINT) } else { *colour };
                plot.line(Line::new(name.clone(), points()).color(shade).width(1.6));
                if series.style == Style::Marked || series.points.len() == 1 {
                    plot.points(Points::new(name.clone(), points()).color(shade).radius(2.5));
                }
            }
            if let Some(step) = step.filter(|_| is_over_steps) {
                plot.vline(VLine::new("step", step).color(Color32::GRAY));
            }
        });
    }
}

/// A series with its name and colour in the plot.
struct Curve<'a> {
    name: String,
    colour: Color32,
    series: &'a Series,
}

/// The series of the `i`-th run. A smoothed series and its mean have one name and one colour.
fn lines<'a>(i: usize, run: Option<&String>, panel: &'a Panel) -> Vec<Curve<'a>> {
    let mut names: Vec<&str> = Vec::new();
    let mut lines = Vec::new();
    for series in &panel.series {
        if !names.contains(&series.name.as_str()) {
            names.push(&series.name);
        }
        let colour = colour(COLOURS[(names.len() - 1 + i * 3) % COLOURS.len()]);
        let name = match run {
            None => series.name.clone(),
            Some(run) => format!("{run}: {}", series.name),
        };
        lines.push(Curve { name, colour, series });
    }
    lines
}

/// The names of the lines, each once, above their plot. A line by itself has its name in the heading.
fn legend<'a>(ui: &mut Ui, lines: impl Iterator<Item = (&'a str, Color32)>) {
    let mut named: Vec<(&str, Color32)> = Vec::new();
    for (name, colour) in lines {
        if !named.iter().any(|(known, _)| *known == name) {
            named.push((name, colour));
        }
    }
    if named.len() < 2 {
        return;
    }
    ui.horizontal_wrapped(|ui| {
        for (name, colour) in named {
            let (place, _) = ui.allocate_exact_size(vec2(12.0, 12.0), Sense::hover());
            ui.painter().circle_filled(place.center(), 4.0, colour);
            ui.small(name);
        }
    });
}

/// Shows the children of a search: their costs against their likelihoods.
pub fn children(ui: &mut Ui, runs: &[Named]) {
    if runs.iter().all(|(_, run)| run.children.n == 0) {
        return;
    }
    ui.strong("Children: log-likelihood less the step's mean, nats per image");
    /// A third of the steps of a run, and its dots.
    type Third = (String, Color32, Vec<[f64; 2]>);
    let thirds = |(i, (name, run)): (usize, &Named)| -> Vec<Third> {
        let name = if runs.len() == 1 { String::new() } else { format!("{name}: ") };
        let third = |(third, label): (usize, &str)| {
            let is_in = |time: f64| ((time * 3.0).ceil() as usize).clamp(1, 3) == third + 1;
            let dots = run.children.dots.iter().filter(|dot| is_in(dot.time));
            // Light early and dark late.
            let colour = colour(COLOURS[(3 * i) % COLOURS.len()]).gamma_multiply(0.3 + 0.35 * third as f32);
            (format!("{name}{label}"), colour, dots.map(|dot| [dot.macs, dot.advantage]).collect())
        };
        ["first third", "second third", "last third"].into_iter().enumerate().map(third).collect()
    };
    let dots: Vec<Third> = runs.iter().enumerate().flat_map(thirds).collect();
    let results = runs.iter().enumerate().filter_map(|(i, (name, run))| {
        let name = if runs.len() == 1 { "the result".into() } else { format!("{name}: the result") };
        Some((name, colour(COLOURS[(3 * i + 1) % COLOURS.len()]), run.children.result_macs?))
    });
    let results: Vec<(String, Color32, f64)> = results.collect();
    let names = dots.iter().map(|(name, colour, _)| (name.as_str(), *colour));
    legend(ui, names.chain(results.iter().map(|(name, colour, _)| (name.as_str(), *colour))));
    let plot = Plot::new("Children").height(1.3 * HEIGHT).allow_scroll(false);
    plot.x_axis_label("million multiply-adds of the final network, per image").show(ui, |plot| {
        for (name, colour, dots) in dots {
            plot.points(Points::new(name, dots).color(colour).radius(2.0));
        }
        for (name, colour, macs) in results {
            plot.vline(VLine::new(name, macs).color(colour));
        }
    });
}

/// The colour of a drawing, such as `#2f6fb7`.
fn colour(text: &str) -> Color32 {
    Color32::from_hex(text).unwrap_or(Color32::GRAY)
}
