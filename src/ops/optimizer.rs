//! The update of v (global norm, clip, SGD with momentum and weight decay) → launches of `sgd.wgsl`.

use super::{WORKGROUP, chunked, groups, launch};
use crate::kernel::{Buf, Launch, Params, Range};

/// Scalars that `sgd.wgsl` and `cross_entropy.wgsl` read or write, by position in the `Scalars` buffer.
pub mod scalar {
    /// Weight of the child whose gradient is being accumulated.
    pub const CHILD: usize = 0;
    /// Learning rate.
    pub const LR: usize = 1;
    /// Momentum.
    pub const MOMENTUM: usize = 2;
    /// Weight decay.
    pub const DECAY: usize = 3;
    /// Largest norm of the gradient; a larger gradient is clipped.
    pub const MAX_NORM: usize = 4;
    /// The clip factor that was applied (written by the GPU).
    pub const CLIP: usize = 5;
    /// The norm of the gradient (written by the GPU).
    pub const NORM: usize = 6;
    /// Length of the buffer in elements.
    pub const COUNT: usize = 64;
}

/// Length of the `Norms` buffer in bytes: enough for the chunks of 64 pieces. The buffer starts as zeros.
pub const NORMS_BYTES: u64 = 1 << 16;

fn params(quads: u32, rounds: u32, chunks: u32) -> Params {
    Params::new().set("quads", quads).set("rounds", rounds).set("chunks", chunks)
}

/// Updates `elements` numbers of v (a multiple of 64) from the accumulated gradient, and clears the gradient.
///
/// v may be larger than one binding, or larger than the 65,535 workgroups of one launch reach. Then the update runs
/// in pieces of at most `piece_bytes`.
pub fn update(elements: u32, piece_bytes: u64) -> Vec<Launch> {
    let reach = u64::from(65_535 * 4 * WORKGROUP);
    let piece = (piece_bytes / 4).min(reach).min(u64::from(elements)) as u32 / 64 * 64;
    let pieces: Vec<(u32, u32)> =
        (0..elements.div_ceil(piece)).map(|i| (i * piece, piece.min(elements - i * piece))).collect();
    let scalars = ("scalars", Range { buf: Buf::Scalars, offset_bytes: 0, len_bytes: 256 });
    let range = |buf, (first, len): (u32, u32)| Range {
        buf,
        offset_bytes: u64::from(first) * 4,
        len_bytes: u64::from(len) * 4,
    };
    let norms = Range { buf: Buf::Norms, offset_bytes: 0, len_bytes: NORMS_BYTES };
    let mut out = Vec::new();
    let mut all_chunks = 0;
    for &p in &pieces {
        let (rounds, chunks) = chunked(p.1 / 4, 1);
        // The sums of each piece start at a multiple of 256 bytes in `Norms`.
        let target = Range {
            offset_bytes: u64::from(all_chunks) * 4,
            len_bytes: (u64::from(chunks) * 4).next_multiple_of(256),
            ..norms
        };
        let bindings = vec![("grad", range(Buf::Grad, p)), ("partial", target)];
        let params = params(p.1 / 4, rounds, chunks);
        out.push(launch("sgd", "norm_chunks", vec![], bindings, params, [chunks, 1, 1]));
        all_chunks += chunks.next_multiple_of(64);
    }
    // The gaps between pieces were cleared when the buffer was made, and they stay zero.
    let all = params(0, 0, all_chunks);
    out.push(launch("sgd", "clip", vec![], vec![scalars, ("partial", norms)], all, [1, 1, 1]));
    for &p in &pieces {
        let bindings = vec![
            ("v", range(Buf::V, p)),
            ("momentum", range(Buf::Momentum, p)),
            ("grad", range(Buf::Grad, p)),
            scalars,
        ];
        let params = params(p.1 / 4, 0, 0);
        out.push(Launch {
            flops: 6 * u64::from(p.1),
            ..launch("sgd", "step", vec![], bindings, params, [groups(p.1 / 4), 1, 1])
        });
    }
    out
}
