//! Parquet files as Hugging Face stores sets of images → images. A row is an image: a column of encoded images
//! (`image: struct{bytes, path}`, or plain bytes) and a column of classes (integers, or names). The names of the classes
//! are those in the file's metadata.
//!
//! Only these two columns are read, and of a row group only the pages of the wanted rows.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{Compression, Type};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_typed_column_reader};
use parquet::data_type::{ByteArray, ByteArrayType, DataType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::SchemaDescriptor;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::encoded::{Encoded, See};
use super::folder::form;
use super::gather::Gather;
use super::many::reason;
use super::shards::{self, Label, Labels, Shard};
use super::spec::{Loaded, Reading};
use crate::error::{Error, Result, quoted};

const WHAT: &str = "a parquet file";
const AGAIN: &str = "download or copy the file again";
/// Names of image columns and of label columns, the preferred first.
const IMAGES: &[&str] = &["image", "img", "picture", "photo", "jpg", "png"];
const LABELS: &[&str] = &["label", "labels", "fine_label", "class", "cls", "target", "category"];
/// Rows that are read together for their labels.
const ROWS: usize = 4096;

#[derive(Debug)]
struct Tables {
    tables: Vec<Table>,
}

/// A file and the place of its images.
#[derive(Debug)]
struct Table {
    shard: Shard,
    /// Index of the column of images among the leaves.
    column: usize,
    /// Position of the first row of the file among all images.
    first: usize,
    /// Rows up to the end of each row group.
    ends: Vec<usize>,
}

impl Table {
    fn n_rows(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    fn open(&self) -> Result<SerializedFileReader<File>> {
        open(&self.shard)
    }
}

impl Tables {
    /// The file of an image, and the row in this file.
    fn find(&self, at: usize) -> (&Table, usize) {
        let i = self.tables.partition_point(|table| table.first <= at).saturating_sub(1);
        (&self.tables[i], at - self.tables[i].first)
    }

    /// Shows the images at `rows` of one row group. `start` is its first row.
    fn read_group(
        &self,
        table: &Table,
        group: usize,
        rows: &[(usize, usize)],
        start: usize,
        see: See<'_>,
    ) -> Result<()> {
        let damaged = |e: &ParquetError| damaged(&table.shard.path, e);
        let reader = table.open()?;
        let column = reader.get_row_group(group).and_then(|group| group.get_column_reader(table.column));
        let mut column: ColumnReaderImpl<ByteArrayType> = match column.map_err(|e| damaged(&e))? {
            column @ ColumnReader::ByteArrayColumnReader(_) => get_typed_column_reader(column),
            _ => return Err(wrong_type(&table.shard.path)),
        };
        let (mut next, mut values, mut levels) = (start, Vec::<ByteArray>::new(), Vec::new());
        for (i, row) in rows {
            values.clear();
            levels.clear();
            column.skip_records(row - next).map_err(|e| damaged(&e))?;
            column.read_records(1, Some(&mut levels), None, &mut values).map_err(|e| damaged(&e))?;
            next = row + 1;
            match values.first() {
                Some(bytes) => see(*i, Ok(bytes.data())),
                None => {
                    let path = table.shard.path.join(format!("row {row}"));
                    see(
                        *i,
                        Err(Error::file(
                            path,
                            None,
                            "the bytes of an image",
                            "none",
                            "a set with its images in it",
                        )),
                    );
                }
            }
        }
        Ok(())
    }
}

impl Encoded for Tables {
    fn path(&self, at: usize) -> PathBuf {
        let (table, row) = self.find(at);
        table.shard.path.join(format!("row {row}"))
    }

    fn len(&self, at: usize) -> u64 {
        let (table, _) = self.find(at);
        table.shard.len() / table.n_rows().max(1) as u64
    }

    fn stamp(&self, at: usize, hash: &mut Sha256) {
        let (table, row) = self.find(at);
        table.shard.stamp(hash);
        hash.update(format!("{row}\0"));
    }

    fn read(&self, at: &[u32], see: See<'_>) {
        let place = |at: u32| {
            let (table, row) = self.find(at as usize);
            (table.first, table.ends.partition_point(|end| *end <= row))
        };
        let mut done = 0;
        for run in at.chunk_by(|a, b| place(*a) == place(*b)) {
            let (table, _) = self.find(run[0] as usize);
            let (_, group) = place(run[0]);
            let start = if group == 0 { 0 } else { table.ends[group - 1] };
            let rows: Vec<(usize, usize)> =
                run.iter().enumerate().map(|(i, at)| (done + i, *at as usize - table.first)).collect();
            let mut n_seen = 0;
            let read = catch_unwind(AssertUnwindSafe(|| {
                self.read_group(table, group, &rows, start, &mut |i, bytes| {
                    n_seen += 1;
                    see(i, bytes);
                })
            }));
            let read =
                read.unwrap_or_else(|_| Err(damaged(&table.shard.path, &"its decoder does not bear it")));
            if let Err(e) = read {
                let text = reason(&e);
                for (i, row) in &rows[n_seen.min(rows.len())..] {
                    let path = table.shard.path.join(format!("row {row}"));
                    see(*i, Err(Error::file(path, None, WHAT, text.clone(), AGAIN)));
                }
            }
            done += run.len();
        }
    }
}

pub(super) fn load(place: &Path, reading: &Reading<'_>) -> Result<Loaded> {
    let form = form(reading.options)?;
    let mut passed_over = Default::default();
    let shards = shards::find(place, &["parquet"], &mut passed_over)?;
    one_configuration(place, &shards)?;
    let (mut labels, mut ends) = (Labels::default(), Vec::new());
    let mut tables = Vec::new();
    // The first error about a file without labels: the test images of a competition have none.
    let mut without = None;
    for shard in shards {
        let first = labels.labels.len();
        let table = catch_unwind(AssertUnwindSafe(|| index(&shard, first, &mut labels, &mut without)));
        let path = shard.path.clone();
        let (column, group_ends) =
            table.unwrap_or_else(|_| Err(damaged(&path, &"its decoder does not bear it")))?;
        ends.push(labels.labels.len());
        tables.push(Table { shard, column, first, ends: group_ends });
    }
    if let Some(error) = without.filter(|_| labels.labels.iter().all(|label| *label == Label::None)) {
        return Err(error);
    }
    let encoded = Tables { tables };
    let path = |at: usize| encoded.path(at);
    let shards: Vec<&Shard> = encoded.tables.iter().map(|table| &table.shard).collect();
    let layout =
        shards::layout(place, reading.is_foreign(), &shards, &ends, &labels, &path, &mut passed_over)?;
    let encoded = Arc::new(encoded);
    Gather { dir: place, encoded, form, reading, passed_over, unreadable: vec![] }.load(layout)
}

fn open(shard: &Shard) -> Result<SerializedFileReader<File>> {
    SerializedFileReader::new(shard.open()?).map_err(|e| damaged(&shard.path, &e))
}

fn damaged(path: &Path, e: &dyn std::fmt::Display) -> Error {
    Error::file(path, None, WHAT, format!("damaged data ({e})"), AGAIN)
}

fn wrong_type(path: &Path) -> Error {
    Error::file(
        path,
        None,
        "a column of bytes with encoded images",
        "a column of another type",
        "a set of images",
    )
}

/// Fails for several configurations of a set: folders that each have a training part.
fn one_configuration(place: &Path, shards: &[Shard]) -> Result<()> {
    let mut folders: Vec<&std::ffi::OsStr> = Vec::new();
    for shard in shards.iter().filter(|shard| shard.is_to_train()) {
        let below = shard.path.strip_prefix(place).unwrap_or(&shard.path);
        let mut names = below.iter();
        let (first, rest) = (names.next(), names.next());
        folders.extend(first.filter(|name| rest.is_some() && !folders.contains(name)));
    }
    let [first, _, ..] = folders.as_slice() else { return Ok(()) };
    let names: Vec<String> = folders.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    let try_this = format!("--data {}", quoted(&format!("parquet:{}", place.join(first).display())));
    let found = format!("several with a training part: {}", names.join(", "));
    Err(Error::file(place, None, "one configuration of a set", found, try_this))
}

/// Reads the labels of a file. The result has the column of its images, and the rows up to the end of each row group.
fn index(
    shard: &Shard,
    first: usize,
    labels: &mut Labels,
    without: &mut Option<Error>,
) -> Result<(usize, Vec<usize>)> {
    let path = &shard.path;
    let reader = open(shard)?;
    let meta = reader.metadata();
    let schema = meta.file_metadata().schema_descr();
    let column = image_column(schema, path)?;
    let label_column = match label_column(schema, path) {
        Ok(column) => Some(column),
        Err(error) => {
            without.get_or_insert(error);
            None
        }
    };
    let label_name = label_column.map_or(String::new(), |at| schema.column(at).path().parts()[0].clone());
    if let Some(found) = class_names(meta.file_metadata().key_value_metadata(), &label_name) {
        if labels.names.as_ref().is_some_and(|names| *names != found) {
            let expected = "the same names of the classes in all files";
            return Err(Error::file(path, None, expected, "other names", "files of one set"));
        }
        labels.names = Some(found);
    }
    let mut ends = Vec::new();
    for (i, group) in meta.row_groups().iter().enumerate() {
        for column in [Some(column), label_column].into_iter().flatten() {
            readable(group.column(column).compression(), path)?;
        }
        let n = usize::try_from(group.num_rows()).map_err(|e| damaged(path, &e))?;
        match label_column {
            Some(at) => {
                let column = reader.get_row_group(i).and_then(|group| group.get_column_reader(at));
                read_labels(column.map_err(|e| damaged(path, &e))?, n, labels, path)?;
            }
            None => (0..n).for_each(|_| labels.push(Label::None)),
        }
        ends.push(labels.labels.len() - first);
    }
    Ok((column, ends))
}

/// Fails for a compression that is not read.
fn readable(compression: Compression, path: &Path) -> Result<()> {
    let name = match compression {
        Compression::UNCOMPRESSED
        | Compression::SNAPPY
        | Compression::GZIP(_)
        | Compression::LZ4
        | Compression::LZ4_RAW => return Ok(()),
        other => format!("{other}"),
    };
    let rewrite = "import sys, pyarrow.parquet as p; p.write_table(p.read_table(sys.argv[1]), sys.argv[1], \
                   compression='snappy')";
    let try_this = format!("python3 -c \"{rewrite}\" {}", quoted(&path.display().to_string()));
    Err(Error::file(path, None, "pages compressed by snappy, gzip, lz4 or not at all", name, try_this))
}

/// The leaf with the encoded images.
fn image_column(schema: &SchemaDescriptor, path: &Path) -> Result<usize> {
    let is_text = |i: usize| {
        let column = schema.column(i);
        column.converted_type() == parquet::basic::ConvertedType::UTF8
            || column.logical_type_ref() == Some(&parquet::basic::LogicalType::String)
    };
    let fits = |i: &usize| {
        let column = schema.column(*i);
        let parts = column.path().parts();
        column.physical_type() == Type::BYTE_ARRAY
            && column.max_rep_level() == 0
            && (parts.len() == 1 && !is_text(*i) || parts.len() == 2 && parts[1] == "bytes")
    };
    let found: Vec<usize> = (0..schema.num_columns()).filter(fits).collect();
    let name = |i: usize| schema.column(i).path().parts()[0].clone();
    let preferred = IMAGES.iter().find_map(|known| found.iter().copied().find(|i| name(*i) == *known));
    match (preferred, found.as_slice()) {
        (Some(column), _) => Ok(column),
        (None, [column]) => Ok(*column),
        (None, found) => {
            let expected = "a column of encoded images (image: struct{bytes, path}, or bytes)";
            let names: Vec<String> = found.iter().map(|i| name(*i)).collect();
            let found = match names.as_slice() {
                [] => format!("the columns {}", columns(schema)),
                several => format!("several: {}", several.join(", ")),
            };
            Err(Error::file(path, None, expected, found, "a file with one such column, named image"))
        }
    }
}

/// The leaf with the classes.
fn label_column(schema: &SchemaDescriptor, path: &Path) -> Result<usize> {
    let fits = |i: &usize| {
        let column = schema.column(*i);
        let is_decimal = column.converted_type() == parquet::basic::ConvertedType::DECIMAL;
        let known =
            matches!(column.physical_type(), Type::INT32 | Type::INT64 | Type::BOOLEAN | Type::BYTE_ARRAY);
        known && column.max_rep_level() == 0 && column.path().parts().len() == 1 && !is_decimal
    };
    let found: Vec<usize> = (0..schema.num_columns()).filter(fits).collect();
    let name = |i: usize| schema.column(i).path().parts()[0].clone();
    let preferred = LABELS.iter().find_map(|known| found.iter().copied().find(|i| name(*i) == *known));
    preferred.ok_or_else(|| {
        let expected = format!("a column of whole numbers or text named {}", LABELS.join(", "));
        let found = format!("the columns {}", columns(schema));
        Error::file(
            path,
            None,
            expected,
            found,
            "a column named label, with a whole number or a name in each row",
        )
    })
}

fn columns(schema: &SchemaDescriptor) -> String {
    let names = schema.columns().iter().map(|column| {
        let kind = format!("{}", column.physical_type()).to_lowercase();
        format!("{} ({kind})", column.path().string())
    });
    names.collect::<Vec<String>>().join(", ")
}

/// The names of the classes in the metadata that Hugging Face's library writes.
fn class_names(
    metadata: Option<&Vec<parquet::file::metadata::KeyValue>>,
    column: &str,
) -> Option<Vec<String>> {
    let text = metadata?.iter().find(|entry| entry.key == "huggingface")?.value.as_ref()?;
    let value: Value = serde_json::from_str(text).ok()?;
    let names = value["info"]["features"][column]["names"].as_array()?;
    names.iter().map(|name| name.as_str().map(str::to_owned)).collect()
}

/// Adds the labels of `n` rows.
fn read_labels(column: ColumnReader, n: usize, labels: &mut Labels, path: &Path) -> Result<()> {
    match column {
        ColumnReader::Int32ColumnReader(column) => each(column, n, path, |value| {
            labels.push(value.map_or(Label::None, |v| Label::Number(i64::from(*v))))
        }),
        ColumnReader::Int64ColumnReader(column) => {
            each(column, n, path, |value| labels.push(value.map_or(Label::None, |v| Label::Number(*v))))
        }
        ColumnReader::BoolColumnReader(column) => each(column, n, path, |value| {
            labels.push(value.map_or(Label::None, |v| Label::Number(i64::from(*v))))
        }),
        ColumnReader::ByteArrayColumnReader(column) => each(column, n, path, |value| {
            let label = match value.map(|value| String::from_utf8_lossy(value.data())) {
                Some(text) if !text.trim().is_empty() => labels.text(&text),
                _ => Label::None,
            };
            labels.push(label);
        }),
        _ => Err(wrong_type(path)),
    }
}

/// Shows the values of `n` rows, `None` for a row without one.
fn each<T: DataType>(
    mut column: ColumnReaderImpl<T>,
    n: usize,
    path: &Path,
    mut see: impl FnMut(Option<&T::T>),
) -> Result<()> {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    let mut left = n;
    while left > 0 {
        values.clear();
        levels.clear();
        let read = column.read_records(left.min(ROWS), Some(&mut levels), None, &mut values);
        let (n_rows, n_values, _) = read.map_err(|e| damaged(path, &e))?;
        if n_rows == 0 {
            return Err(damaged(path, &format!("{} rows of {n}", n - left)));
        }
        let most = levels.iter().copied().max().unwrap_or(0);
        let mut found = values.iter();
        for i in 0..n_rows {
            // A row without a value has a lower level.
            let is_there =
                n_values == n_rows || levels.get(i).is_some_and(|level| *level == most && n_values > 0);
            see(if is_there { found.next() } else { None });
        }
        left -= n_rows;
    }
    Ok(())
}
