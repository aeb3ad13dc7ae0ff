//! The history of a run → the records of a TensorBoard event file.
//!
//! A file is a sequence of records: length, masked CRC-32C of the length, bytes, masked CRC-32C of the bytes. The bytes
//! are an `Event` of TensorFlow's `event.proto`. Only the fields that are written are declared here.

use std::collections::BTreeMap;

use prost::{Message, Oneof};
use serde_json::Value;

use super::history::History;

#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    /// 1: all earlier points from the event's step on are void.
    #[prost(int32, tag = "1")]
    status: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<SummaryValue>,
}

#[derive(Clone, PartialEq, Message)]
struct SummaryValue {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(message, optional, tag = "9")]
    metadata: Option<Metadata>,
    #[prost(oneof = "Content", tags = "2, 4")]
    content: Option<Content>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Content {
    #[prost(float, tag = "2")]
    SimpleValue(f32),
    #[prost(message, tag = "4")]
    Image(Image),
}

#[derive(Clone, PartialEq, Message)]
struct Image {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    /// 4: red, green, blue and opacity.
    #[prost(int32, tag = "3")]
    colorspace: i32,
    /// The bytes of a PNG file.
    #[prost(bytes = "vec", tag = "4")]
    encoded: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(message, optional, tag = "1")]
    plugin: Option<Plugin>,
}

#[derive(Clone, PartialEq, Message)]
struct Plugin {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", tag = "2")]
    content: Vec<u8>,
}

/// The messages of the plugin `hparams`.
#[derive(Clone, PartialEq, Message)]
struct HParams {
    #[prost(int32, tag = "1")]
    version: i32,
    #[prost(oneof = "HParamsData", tags = "2, 3, 4")]
    data: Option<HParamsData>,
}

#[derive(Clone, PartialEq, Oneof)]
enum HParamsData {
    #[prost(message, tag = "2")]
    Experiment(Experiment),
    #[prost(message, tag = "3")]
    Start(SessionStart),
    #[prost(message, tag = "4")]
    End(SessionEnd),
}

#[derive(Clone, PartialEq, Message)]
struct Experiment {
    #[prost(message, repeated, tag = "4")]
    hparams: Vec<HParamInfo>,
    #[prost(message, repeated, tag = "5")]
    metrics: Vec<MetricInfo>,
}

#[derive(Clone, PartialEq, Message)]
struct HParamInfo {
    #[prost(string, tag = "1")]
    name: String,
    /// 1: text, 2: truth value, 3: number.
    #[prost(int32, tag = "4")]
    r#type: i32,
}

#[derive(Clone, PartialEq, Message)]
struct MetricInfo {
    #[prost(message, optional, tag = "1")]
    name: Option<MetricName>,
}

#[derive(Clone, PartialEq, Message)]
struct MetricName {
    #[prost(string, tag = "2")]
    tag: String,
}

#[derive(Clone, PartialEq, Message)]
struct SessionStart {
    #[prost(btree_map = "string, message", tag = "1")]
    hparams: BTreeMap<String, Setting>,
    #[prost(double, tag = "5")]
    start_time: f64,
}

#[derive(Clone, PartialEq, Message)]
struct SessionEnd {
    /// 1: finished.
    #[prost(int32, tag = "1")]
    status: i32,
    #[prost(double, tag = "2")]
    end_time: f64,
}

/// `google.protobuf.Value`.
#[derive(Clone, PartialEq, Message)]
struct Setting {
    #[prost(oneof = "SettingKind", tags = "2, 3, 4")]
    kind: Option<SettingKind>,
}

#[derive(Clone, PartialEq, Oneof)]
enum SettingKind {
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(bool, tag = "4")]
    Truth(bool),
}

/// Columns of the metrics and their names in TensorBoard. A column whose name here ends in a slash has others below it.
const SEARCH: &[(&str, &str)] = &[
    ("train_loss", "loss/train"),
    ("train_accuracy", "accuracy/train"),
    ("accuracy", "accuracy/search"),
    ("mode_accuracy", "accuracy/val"),
    ("lr", "lr"),
    ("grad_norm", "grad_norm"),
    ("ess", "search/ess"),
    ("beta", "search/beta"),
    ("samples", "search/samples"),
    ("entropy.", "search/entropy_"),
    ("skips.", "search/skips_"),
    ("pools.", "search/pools_"),
    ("arena_bytes", "cost/arena_bytes"),
    ("seconds.", "cost/seconds_"),
];
const TRAIN: &[(&str, &str)] = &[
    ("loss", "loss/train"),
    ("held_out_loss", "loss/val"),
    ("accuracy", "accuracy/train"),
    ("held_out_accuracy", "accuracy/val"),
    ("lr", "lr"),
    ("grad_norm", "grad_norm"),
    ("drop_path", "drop_path"),
    ("arena_bytes", "cost/arena_bytes"),
    ("seconds.", "cost/seconds_"),
];

/// The name in TensorBoard of a column of the metrics. `None` for columns without one.
fn tag(column: &str, is_search: bool) -> Option<String> {
    let names = if is_search { SEARCH } else { TRAIN };
    names.iter().find_map(|(from, to)| {
        let rest = column.strip_prefix(from)?;
        (rest.is_empty() || from.ends_with('.')).then(|| format!("{to}{rest}"))
    })
}

/// The first records of a file: its version, and the mark that makes void what other files of the folder have.
pub fn head(wall_time: f64) -> Vec<u8> {
    let version = What::FileVersion("brain.Event:2".into());
    let start = What::SessionLog(SessionLog { status: 1 });
    [version, start]
        .into_iter()
        .flat_map(|what| record(Event { wall_time, step: 0, what: Some(what) }))
        .collect()
}

/// The records of the settings, for the table of hyper-parameters.
pub fn settings(config: &Value, is_search: bool, wall_time: f64) -> Vec<u8> {
    let mut hparams = BTreeMap::new();
    for (key, value) in config.as_object().into_iter().flatten() {
        let kind = match value {
            Value::Number(number) => number.as_f64().map(SettingKind::Number),
            Value::String(text) => Some(SettingKind::Text(text.clone())),
            Value::Bool(is) => Some(SettingKind::Truth(*is)),
            Value::Null => None,
            other => Some(SettingKind::Text(other.to_string())),
        };
        hparams.extend(kind.map(|kind| (key.clone(), Setting { kind: Some(kind) })));
    }
    let info = |(name, setting): (&String, &Setting)| {
        let r#type = match setting.kind {
            Some(SettingKind::Number(_)) => 3,
            Some(SettingKind::Truth(_)) => 2,
            _ => 1,
        };
        HParamInfo { name: name.clone(), r#type }
    };
    let metric = |tag: &str| MetricInfo { name: Some(MetricName { tag: tag.into() }) };
    let metrics = if is_search { ["accuracy/search", "accuracy/val"] } else { ["accuracy/val", "loss/val"] };
    let experiment =
        Experiment { hparams: hparams.iter().map(info).collect(), metrics: metrics.map(metric).to_vec() };
    let start = SessionStart { hparams, start_time: wall_time };
    let mut records = hparams_record("_hparams_/experiment", HParamsData::Experiment(experiment), wall_time);
    records.extend(hparams_record("_hparams_/session_start_info", HParamsData::Start(start), wall_time));
    records
}

/// The record that a run is finished.
pub fn end(wall_time: f64) -> Vec<u8> {
    let end = SessionEnd { status: 1, end_time: wall_time };
    hparams_record("_hparams_/session_end_info", HParamsData::End(end), wall_time)
}

fn hparams_record(tag: &str, data: HParamsData, wall_time: f64) -> Vec<u8> {
    let content = HParams { version: 0, data: Some(data) }.encode_to_vec();
    let plugin = Some(Plugin { name: "hparams".into(), content });
    let value = SummaryValue { tag: tag.into(), metadata: Some(Metadata { plugin }), content: None };
    summary(vec![value], 0, wall_time)
}

/// The records of all steps of `history`, one for a step. The last step was at the time `end`, and the steps before it
/// as much earlier as their seconds say.
pub fn steps(history: &History, end: f64) -> Vec<u8> {
    let seconds = history.sum_below("seconds");
    let total: f64 = seconds.iter().map(|p| p.1).sum();
    let mut times = BTreeMap::new();
    let mut passed = 0.0;
    for (step, seconds) in seconds {
        passed += seconds;
        times.insert(step as u64, end - total + passed);
    }
    let mut values: BTreeMap<u64, Vec<SummaryValue>> = BTreeMap::new();
    for (column, points) in &history.columns {
        let Some(tag) = tag(column, history.is_search()) else { continue };
        // In the warm-up this is the accuracy of the train batch.
        let searched = (history.is_search() && column == "accuracy").then(|| history.after_warm_up(column));
        for (step, number) in searched.as_ref().unwrap_or(points) {
            values.entry(*step as u64).or_default().push(scalar(tag.clone(), *number));
        }
    }
    let record = |(step, values): (u64, Vec<SummaryValue>)| {
        summary(values, step, times.get(&step).copied().unwrap_or(end))
    };
    values.into_iter().flat_map(record).collect()
}

fn scalar(tag: String, number: f64) -> SummaryValue {
    SummaryValue { tag, metadata: None, content: Some(Content::SimpleValue(number as f32)) }
}

/// The record of a picture, a PNG file of this width and height.
pub fn picture(tag: &str, png: Vec<u8>, [width, height]: [u32; 2], step: u64, wall_time: f64) -> Vec<u8> {
    let image = Image { height: height as i32, width: width as i32, colorspace: 4, encoded: png };
    let value = SummaryValue { tag: tag.into(), metadata: None, content: Some(Content::Image(image)) };
    summary(vec![value], step, wall_time)
}

fn summary(value: Vec<SummaryValue>, step: u64, wall_time: f64) -> Vec<u8> {
    record(Event { wall_time, step: step as i64, what: Some(What::Summary(Summary { value })) })
}

fn record(event: Event) -> Vec<u8> {
    let bytes = event.encode_to_vec();
    let length = (bytes.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(bytes.len() + 16);
    record.extend(length);
    record.extend(masked_crc(&length).to_le_bytes());
    record.extend(&bytes);
    record.extend(masked_crc(&bytes).to_le_bytes());
    record
}

/// The CRC-32C (Castagnoli), turned and shifted as the format wants it.
fn masked_crc(bytes: &[u8]) -> u32 {
    let crc =
        bytes.iter().fold(!0u32, |crc, byte| CRC[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8));
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8)
}

const CRC: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            // The polynomial of Castagnoli, lowest bit first.
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};
