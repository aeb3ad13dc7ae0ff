//! The driver's own form of compiled kernels, to be kept between runs of the program.
//!
//! Where a driver keeps them itself (most do, in the user's home) this saves nothing; in containers with a fresh home, and
//! with drivers that keep nothing, it saves compiling. What is kept belongs to one adapter, driver and set of kernels;
//! whoever keeps it says so.

use super::executor::Gpu;

impl Gpu {
    /// Starts from what [`Self::compiled_kernels`] gave on the same adapter and driver; nothing: from an empty cache. No
    /// effect where the driver has no such cache.
    pub fn use_compiled_kernels(&mut self, kept: Option<&[u8]>) {
        if !self.device.wgpu().features().contains(wgpu::Features::PIPELINE_CACHE) {
            return;
        }
        let descriptor = wgpu::PipelineCacheDescriptor {
            label: Some("kernels"),
            data: kept,
            // What the driver does not take is as if nothing had been kept.
            fallback: true,
        };
        // SAFETY: the data come from `compiled_kernels` on an adapter and driver of the same names; the caller has compared
        // their checksum. The driver checks its own header besides.
        #[expect(unsafe_code, reason = "a driver trusts its own data")]
        let cache = unsafe { self.device.wgpu().create_pipeline_cache(&descriptor) };
        self.device.use_cache(cache);
    }

    /// What the driver would like to be given again at the next start; nothing where it has no such cache.
    pub fn compiled_kernels(&self) -> Option<Vec<u8>> {
        self.device.cache()?.get_data()
    }
}
