//! Values in f64 → buffers, launches on these buffers, and the expected words afterwards.
//!
//! Tensors lie in one arena, as in a plan, with guard words between them. Inputs have huge values in their padding,
//! and outputs start as guard words. So a kernel that reads padding, writes past the end of its output or leaves a
//! hole is found. A word that has no expectation must not change.

use std::collections::BTreeMap;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::kernel::{Buf, Launch, Range};
use crate::ops::{Array, Map, Param, Tensor, View};
use crate::reference::{T4, relu};
use crate::rng::{Purpose, stream};

/// The word in every place that nothing has written. As an f32 it is finite and huge.
pub const GUARD: u32 = 0x7B5A_5A5A;
/// The value in the padding of inputs.
pub const PADDING: f32 = 1e30;
/// The buffer of all tensors and arrays.
pub const ARENA: Buf = Buf::Extra(0);
/// The buffer of all batch-norm coefficients.
pub const COEFS: Buf = Buf::Coefs;
/// Words between the starts of tensors: 256 bytes.
const ALIGN: usize = 64;

/// Words by buffer.
pub type Memory = BTreeMap<Buf, Vec<u32>>;

/// The largest error, relative to the largest magnitude expected in the output, and the reason for this tolerance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Largest relative error.
    pub relative: f64,
    /// Reason for the tolerance.
    pub reason: &'static str,
}

/// For outputs whose values are only moved, or whose arithmetic is exact in f32.
pub const EXACT: Tolerance = Tolerance { relative: 0.0, reason: "no rounding happens" };
/// For outputs with a few operations per element.
pub const FEW: Tolerance = Tolerance { relative: 1e-6, reason: "a few roundings of 6e-8 each" };
/// For outputs with up to some hundreds of products per element.
pub const SUM: Tolerance =
    Tolerance { relative: 4e-6, reason: "sums of up to hundreds of products, each rounded to 6e-8" };
/// For sums over whole maps.
pub const LONG_SUM: Tolerance =
    Tolerance { relative: 1e-5, reason: "sums over maps, whose terms largely cancel, in f32" };
/// For functions that WebGPU lets adapters approximate.
pub const APPROXIMATE: Tolerance = Tolerance {
    relative: 1e-5,
    reason: "exp, log, sqrt and division are accurate to some units in the last place",
};

impl Tolerance {
    /// The tolerance for drivers that compile with fast math, as Metal does by default.
    pub fn with_fast_math(self) -> Self {
        if self != APPROXIMATE {
            return self;
        }
        Self {
            relative: 5e-5,
            reason: "Metal's fast math: exp(x) is off by 3 + 2|x| units in the last place, log(x) by 5e-7 near 1, division \
                     by 2.5 and a square root's reciprocal by 2 units; the cases' logits reach 400",
        }
    }
}

/// Expected values of one output.
#[derive(Clone, Debug)]
pub struct Output {
    /// The launch that wrote it.
    pub kernel: String,
    /// The buffer of the output.
    pub buf: Buf,
    /// Words and their values. `None` where any value is accepted (padding, scratch).
    pub items: Vec<(usize, Option<f64>)>,
    /// Number of partial sums. The expected value is the sum of this many words, `stride` apart.
    pub chunks: usize,
    /// Distance of the words that are summed, see `chunks`.
    pub stride: usize,
    /// Errors are divided by this magnitude.
    pub scale: f64,
    /// The accepted error.
    pub tolerance: Tolerance,
}

/// One test, ready to run.
#[derive(Debug)]
pub struct Setup {
    /// Memory before the launches.
    pub memory: Memory,
    /// The launches in order.
    pub launches: Vec<Launch>,
    /// Outputs after the launches.
    pub outputs: Vec<Output>,
    /// Whether the adapter computes with fast math.
    pub fast_math: bool,
    starts: Vec<usize>,
    rng: ChaCha8Rng,
}

impl Setup {
    /// An empty test whose random values follow from `name`.
    pub fn new(name: &str) -> Self {
        // FNV-1a of the name: a case keeps its data when other cases are added.
        let seed = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        let rng = stream(seed, Purpose::Test, 0, 0);
        // A kernel without coefficients binds this range in their place.
        let memory = Memory::from([(COEFS, vec![GUARD; ALIGN])]);
        Self { memory, launches: Vec::new(), outputs: Vec::new(), fast_math: false, starts: Vec::new(), rng }
    }

    /// An integer below `n`.
    pub fn below(&mut self, n: u32) -> u32 {
        self.rng.next_u32() % n
    }

    /// Values in [-1, 1) that f32 holds exactly.
    pub fn noise(&mut self, len: u32) -> Vec<f64> {
        (0..len).map(|_| f64::from(self.rng.next_u32() >> 8) / f64::from(1 << 23) - 1.0).collect()
    }

    /// Multiples of 1/16 in [-1, 1]. Zeros and ties occur, and norm(x) is exact, so that ReLU and max decide in the
    /// same way in f32 and f64.
    pub fn grid(&mut self, len: u32) -> Vec<f64> {
        (0..len).map(|_| f64::from(self.below(33)) / 16.0 - 1.0).collect()
    }

    /// A tensor of these values.
    pub fn shaped(channels: u32, map: Map, data: Vec<f64>) -> T4 {
        let Map { n, h, w } = map;
        T4 { c: channels as usize, n: n as usize, h: h as usize, w: w as usize, data }
    }

    /// [`Self::noise`] in a shape.
    pub fn noise_t4(&mut self, channels: u32, map: Map) -> T4 {
        let data = self.noise(channels * map.count());
        Self::shaped(channels, map, data)
    }

    /// [`Self::grid`] in a shape.
    pub fn grid_t4(&mut self, channels: u32, map: Map) -> T4 {
        let data = self.grid(channels * map.count());
        Self::shaped(channels, map, data)
    }

    /// Makes room for `len` words in `buf`, with guards before and behind. Returns the first word.
    pub fn room(&mut self, buf: Buf, len: usize) -> usize {
        let words = self.memory.entry(buf).or_default();
        let start = words.len().next_multiple_of(ALIGN) + ALIGN;
        words.resize((start + len + ALIGN).next_multiple_of(ALIGN), GUARD);
        start
    }

    /// Sets the content of a buffer from its first word on, with guards behind.
    pub fn whole(&mut self, buf: Buf, values: &[f64]) {
        let mut words: Vec<u32> = values.iter().map(|v| (*v as f32).to_bits()).collect();
        words.resize((words.len() + ALIGN).next_multiple_of(ALIGN), GUARD);
        self.memory.insert(buf, words);
    }

    /// An [`Array`] of `len` guard words that a kernel will write.
    pub fn blank(&mut self, len: u32) -> Array {
        let start = self.room(ARENA, len as usize);
        self.starts.push(start);
        let bytes = u64::from(len.next_multiple_of(4)) * 4;
        Array { buf: Buf::Tensor(self.starts.len() as u32 - 1), offset_bytes: 0, bytes }
    }

    /// Guard words where a kernel will write the coefficients of `channels` channels.
    pub fn blank_coefs(&mut self, channels: u32) -> Array {
        let start = self.room(COEFS, 4 * channels as usize);
        self.starts.push(start);
        let buf = Buf::Small(self.starts.len() as u32 - 1);
        Array { buf, offset_bytes: 0, bytes: u64::from(channels) * 16 }
    }

    /// Coefficients, four numbers per channel.
    pub fn coefs(&mut self, values: &[f64]) -> Array {
        let array = self.blank_coefs(values.len() as u32 / 4);
        let words: Vec<u32> = values.iter().map(|v| (*v as f32).to_bits()).collect();
        self.set(array.buf, 0, &words);
        array
    }

    /// An array of words.
    pub fn words(&mut self, words: &[u32]) -> Array {
        let array = self.blank(words.len() as u32);
        self.set(array.buf, 0, words);
        array
    }

    /// An array of f32.
    pub fn array(&mut self, values: &[f64]) -> Array {
        let words: Vec<u32> = values.iter().map(|v| (*v as f32).to_bits()).collect();
        self.words(&words)
    }

    fn set(&mut self, buf: Buf, first: usize, words: &[u32]) {
        let start = self.start(buf) + first;
        if let Some(memory) = self.memory.get_mut(&home(buf)) {
            memory[start..start + words.len()].copy_from_slice(words);
        }
    }

    fn start(&self, buf: Buf) -> usize {
        match buf {
            Buf::Tensor(id) | Buf::Small(id) => self.starts[id as usize],
            _ => 0,
        }
    }

    /// A tensor of guard words.
    pub fn tensor(&mut self, channels: u32, map: Map) -> Tensor {
        let buf = self.blank(channels * map.pitch() * 4).buf;
        Tensor { buf, channels, map }
    }

    /// A tensor that holds `data`.
    pub fn input(&mut self, data: &T4) -> Tensor {
        let map = Map { n: data.n as u32, h: data.h as u32, w: data.w as u32 };
        let tensor = self.tensor(data.c as u32, map);
        self.put(tensor, 0, data);
        tensor
    }

    /// Writes `data` into the channels from `first` on, and [`PADDING`] into their padding.
    pub fn put(&mut self, tensor: Tensor, first: u32, data: &T4) {
        let channel = tensor.map.pitch() as usize * 4;
        let mut words = vec![PADDING.to_bits(); data.c * channel];
        for (at, value) in positions(tensor, data) {
            if let Some(value) = value {
                words[at] = (value as f32).to_bits();
            }
        }
        self.set(tensor.buf, first as usize * channel, &words);
    }

    /// A parameter in `V`, with guards around it.
    pub fn weights(&mut self, values: &[f64]) -> Param {
        self.parameter(Buf::V, values)
    }

    /// A parameter in `Packed`, with guards around it. Its rows of `row` elements are padded to quads with zeros.
    pub fn packed(&mut self, values: &[f64], row: u32) -> Param {
        self.parameter(Buf::Packed, &padded(values, row))
    }

    /// Several parameters in `Packed`, in the reverse order in memory.
    pub fn packed_reversed(&mut self, lists: &[Vec<f64>], row: u32) -> Vec<Param> {
        let mut params: Vec<Param> = lists.iter().rev().map(|list| self.packed(list, row)).collect();
        params.reverse();
        params
    }

    fn parameter(&mut self, buf: Buf, values: &[f64]) -> Param {
        let start = self.room(buf, values.len());
        for (i, value) in values.iter().enumerate() {
            if let Some(memory) = self.memory.get_mut(&buf) {
                memory[start + i] = (*value as f32).to_bits();
            }
        }
        Param { offset: start as u32, len: values.len() as u32 }
    }

    /// Adds a launch. The expectations that follow are outputs of this launch.
    pub fn push(&mut self, mut launch: Launch) {
        for (_, range) in &mut launch.bindings {
            range.offset_bytes += self.start(range.buf) as u64 * 4;
            range.buf = home(range.buf);
        }
        self.launches.push(launch);
    }

    /// The range of an array in its buffer.
    pub fn placed(&self, array: Array) -> Range {
        let offset_bytes = array.offset_bytes + self.start(array.buf) as u64 * 4;
        Range { buf: home(array.buf), offset_bytes, len_bytes: array.bytes }
    }

    /// Sets the expected words of `buf`. Returns the output for further settings.
    pub fn expect_words(
        &mut self,
        buf: Buf,
        items: Vec<(usize, Option<f64>)>,
        tolerance: Tolerance,
    ) -> &mut Output {
        let start = self.start(buf);
        let buf = home(buf);
        let items: Vec<_> = items.into_iter().map(|(at, value)| (start + at, value)).collect();
        let largest = items.iter().filter_map(|(_, v)| *v).fold(0.0, |m: f64, v| m.max(v.abs()));
        let kernel = self.launches.last().map(|d| format!("{}::{}", d.shader, d.entry)).unwrap_or_default();
        let scale = if largest > 0.0 { largest } else { 1.0 };
        let at = self.outputs.len();
        self.outputs.push(Output { kernel, buf, items, chunks: 1, stride: 0, scale, tolerance });
        &mut self.outputs[at]
    }

    /// Expects `want` in the channels of `tensor` from `first` on.
    pub fn must_be(&mut self, tensor: Tensor, first: u32, want: &T4, tolerance: Tolerance) -> &mut Output {
        let skip = (first * tensor.map.pitch() * 4) as usize;
        let items = positions(tensor, want).map(|(at, value)| (skip + at, value)).collect();
        self.expect_words(tensor.buf, items, tolerance)
    }

    /// Expects `want` in the first elements of `array`.
    pub fn expect_array(&mut self, array: Array, want: &[f64], tolerance: Tolerance) {
        let items = want.iter().copied().map(Some).enumerate().collect();
        self.expect_words(array.buf, items, tolerance);
    }

    /// Expects `want` as the sum of `chunks` runs of `array`.
    pub fn expect_chunks(&mut self, array: Array, want: &[f64], chunks: u32, tolerance: Tolerance) {
        let items = want.iter().copied().map(Some).enumerate().collect();
        let output = self.expect_words(array.buf, items, tolerance);
        (output.chunks, output.stride) = (chunks as usize, want.len());
    }

    /// Accepts any values in `array` afterwards.
    pub fn scratch(&mut self, array: Array) {
        let items = (0..array.bytes as usize / 4).map(|at| (at, None)).collect();
        self.expect_words(array.buf, items, EXACT);
    }

    /// relu(norm(x)), where `relu` and `norm` are optional. Returns the view, norm(x) and the values of the view.
    pub fn view(&mut self, data: &T4, norm: bool, relu: bool) -> (View, T4, T4) {
        let x = self.input(data);
        let (mut coefs, mut normed) = (None, data.clone());
        if norm {
            let mut list = Vec::new();
            for c in 0..data.c {
                let (mean, beta) = (self.grid(1)[0], self.grid(1)[0]);
                let scale = [0.5, 1.0, 2.0, -1.0][self.below(4) as usize];
                // (mean, scale, beta, rstd). No reader of a view needs rstd.
                list.extend([mean, scale, beta, f64::from(PADDING)]);
                let m = data.per_channel();
                normed.data[c * m..(c + 1) * m].iter_mut().for_each(|v| *v = (*v - mean) * scale + beta);
            }
            coefs = Some(self.coefs(&list));
        }
        let seen = if relu { relu::forward(&normed) } else { normed.clone() };
        (View { x, coefs, relu }, normed, seen)
    }

    /// A gradient that already holds something in the blocks marked in `add`. Returns the tensor and its present
    /// values (zeros in the blocks that are written for the first time).
    pub fn target(&mut self, channels: u32, map: Map, add: &[bool]) -> (Tensor, Vec<T4>) {
        let tensor = self.tensor(channels * add.len() as u32, map);
        let mut before = Vec::new();
        for (first, &add) in (0..).map(|i| i * channels).zip(add) {
            let data = self.noise_t4(channels, map);
            if add {
                self.put(tensor, first, &data);
            }
            before.push(if add { data } else { data.zeros_like() });
        }
        (tensor, before)
    }

    /// `count` lists of drop-path factors, \[count\]\[N\]. Returns the array and its values.
    pub fn drop_factors(&mut self, count: u32, n: u32) -> (Array, Vec<f64>) {
        let factors: Vec<f64> = (0..count * n).map(|_| [0.0, 1.25, 0.5][self.below(3) as usize]).collect();
        (self.array(&factors), factors)
    }
}

/// The buffer that holds a tensor or an array.
fn home(buf: Buf) -> Buf {
    match buf {
        Buf::Tensor(_) => ARENA,
        Buf::Small(_) => COEFS,
        other => other,
    }
}

/// Rows of `row` elements, each padded to quads with zeros.
pub fn padded(values: &[f64], row: u32) -> Vec<f64> {
    let len = row.next_multiple_of(4) as usize;
    values.chunks(row as usize).flat_map(|r| r.iter().copied().chain([0.0; 3]).take(len)).collect()
}

/// a + b.
pub fn sum(a: &T4, b: &T4) -> T4 {
    let mut out = a.clone();
    out.add(b);
    out
}

/// Word (from the first channel on) and value of each place of `data` in the layout of `tensor`. The value is
/// `None` in the padding of rows. Words behind a channel's last quad are left out, because no kernel writes them.
fn positions(tensor: Tensor, data: &T4) -> impl Iterator<Item = (usize, Option<f64>)> {
    let (channel, row) = (tensor.map.pitch() as usize * 4, tensor.map.wq() as usize * 4);
    let rows = data.n * data.h;
    (0..data.c * rows * row).map(move |i| {
        let (c, r, j) = (i / (rows * row), i / row % rows, i % row);
        let value = (j < data.w).then(|| data.data[(c * rows + r) * data.w + j]);
        (c * channel + r * row + j, value)
    })
}
