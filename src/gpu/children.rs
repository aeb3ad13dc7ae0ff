//! The work that the children of a step share: the trunk, which is the same for every architecture, and the sum of
//! their gradients.

use std::sync::Arc;

use super::network::{Child, Network};
use crate::error::Result;
use crate::graph::{Extent, Mode, Trunk};
use crate::kernel::{Buf, Launch, Range};
use crate::network::Net;
use crate::ops::lane;

impl Network {
    /// Whether children like `net` of `batch` examples have a common trunk.
    pub fn has_trunk(&self, net: &Net, batch: u32) -> bool {
        Trunk::of(net, batch, &self.lowering).is_some()
    }

    /// Makes buffers for the outputs of the trunk, for children of `batch` examples.
    pub(super) fn ensure_trunk(&mut self, net: &Net, batch: u32) -> Result<()> {
        let Some(trunk) = Trunk::of(net, batch, &self.lowering) else { return Ok(()) };
        let mut wanted = vec![(Buf::TrunkCoefs, trunk.coefs_bytes)];
        for output in trunk.outputs.iter().map(|o| o.tensor) {
            wanted.push((output.buf, output.bytes()));
            wanted.push((Trunk::gradient(output).buf, output.bytes()));
        }
        for (buf, bytes) in wanted {
            if !self.gpu.has(buf, bytes) {
                self.gpu.allocate(buf, bytes)?;
                self.trunk_bytes.insert(buf, bytes);
                self.forget();
            }
        }
        Ok(())
    }

    /// Submits the trunk, which is the same for every child, on the batch in the input slot `input`. Children with
    /// [`Extent::Branch`] start from its outputs. Children in [`Mode::Train`] add up the gradients of the outputs,
    /// starting from zero.
    pub fn run_trunk(&mut self, net: &Arc<Net>, mode: Mode, input: u8) -> Result<()> {
        self.run(trunk(net, Mode::Likelihood, input))?;
        if mode == Mode::Train {
            let bytes = self.trunk_bytes.clone().into_iter();
            for (buf, len) in bytes.filter(|(buf, _)| matches!(buf, Buf::TrunkGrad(_))) {
                self.gpu.fill_zero(buf, 0, len)?;
            }
        }
        Ok(())
    }

    /// Submits the trunk's backward pass from the sum of the children's gradients. The gradients are already
    /// weighted.
    pub fn run_trunk_backward(&mut self, net: &Arc<Net>, input: u8) -> Result<()> {
        self.run(trunk(net, Mode::Train, input))
    }

    /// Makes buffers for the partial sums of this number of lanes.
    pub fn reserve_lanes(&mut self, lanes: usize) -> Result<()> {
        (0..lanes.next_power_of_two().ilog2()).try_for_each(|level| self.ensure_lanes(level as u8))
    }

    /// Adds up the partial sums that are complete after lane `lane`; see [`lane::close`]. After the last lane, the
    /// gradient and the gradients of the trunk are the sums over all lanes.
    pub fn close_lane(&mut self, lane: usize, is_last: bool) -> Result<()> {
        let level = lane.trailing_ones() as u8;
        if !is_last {
            self.ensure_lanes(level)?;
        }
        self.submit_sums(|range, offset, piece| lane::close(lane, is_last, range, offset, piece))
    }

    /// Puts aside the gradient of the earlier micro-batches of a batch, so that the next micro-batch starts at zero.
    pub fn put_gradient_aside(&mut self) -> Result<()> {
        self.ensure_lanes(lane::EARLIER)?;
        self.submit_sums(|range, offset, piece| lane::put(range, lane::EARLIER, offset, piece))
    }

    /// Adds the gradient of the earlier micro-batches to the gradient of this micro-batch.
    pub fn add_gradient_aside(&mut self) -> Result<()> {
        let all = self.summed();
        let piece = self.gpu.max_binding_bytes();
        self.submit(&lane::add(all[0].0, lane::EARLIER, 0, piece))
    }

    /// The ranges that are summed over children, each with the offset of its partial sums.
    fn summed(&self) -> Vec<(Range, u64)> {
        let trunk = self.trunk_bytes.iter().filter(|(buf, _)| matches!(buf, Buf::TrunkGrad(_)));
        let all = std::iter::once((Buf::Grad, u64::from(self.layout.v_len) * 4));
        let mut offset = 0;
        let place = |(buf, bytes): (Buf, u64)| {
            let len_bytes = bytes.next_multiple_of(16);
            let placed = (Range { buf, offset_bytes: 0, len_bytes }, offset);
            offset += len_bytes.next_multiple_of(256);
            placed
        };
        all.chain(trunk.map(|(buf, bytes)| (*buf, *bytes))).map(place).collect()
    }

    fn ensure_lanes(&mut self, level: u8) -> Result<()> {
        let bytes = self.summed().last().map_or(0, |(range, offset)| offset + range.len_bytes);
        self.gpu.ensure(Buf::Lanes(level), bytes)
    }

    fn submit_sums(&mut self, sums: impl Fn(Range, u64, u64) -> Vec<Launch>) -> Result<()> {
        let piece = self.gpu.max_binding_bytes();
        let all: Vec<Launch> =
            self.summed().into_iter().flat_map(|(range, offset)| sums(range, offset, piece)).collect();
        self.submit(&all)
    }

    fn submit(&mut self, launches: &[Launch]) -> Result<()> {
        self.on_host(|network| {
            let recorded = network.gpu.prepare(launches)?;
            network.gpu.submit(&recorded)
        })
    }
}

fn trunk(net: &Arc<Net>, mode: Mode, input: u8) -> Child<'_> {
    Child { extent: Extent::Trunk, ..Child::new(net, mode, input) }
}
