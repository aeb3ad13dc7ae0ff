//! The executor on a shader whose result is obvious, the errors of the executor, and the translations of every shader.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use parsec_nas::Error;
use parsec_nas::gpu::{self, Device, Gpu, LimitsChoice, Options, has_dxc};
use parsec_nas::kernel::{self, Buf, Launch, Params, Range};
use parsec_nas::ops::{Array, probe};
use parsec_nas::selftest::{cases, run};
use tempfile::TempDir;

/// The options with which the suite opens a device. SwiftShader takes minutes to compile a convolution whose loops are
/// written out, so its kernels are compiled as they are written.
pub fn options() -> Options {
    let plain = gpu::choose(None).is_ok_and(|a| a.name.contains("SwiftShader"));
    Options { limits: LimitsChoice::Floor, plain, ..Options::default() }
}

/// The one device of the suite, without runtime checks and with the default limits. Its kernels are compiled once for
/// all tests. `None` if `PARSEC_NO_GPU=1` asks to skip the tests that need a device.
///
/// # Panics
/// If there is no adapter and the variable is not set. A test that did not run must not pass.
#[track_caller]
pub fn device() -> Option<&'static Device> {
    static DEVICE: OnceLock<Result<Device, String>> = OnceLock::new();
    if std::env::var_os("PARSEC_NO_GPU").is_some_and(|value| value == "1") {
        skipped();
        return None;
    }
    match DEVICE.get_or_init(|| Device::open(None, options()).map_err(|e| e.to_string())) {
        Ok(device) => Some(device),
        Err(e) => panic!(
            "this test needs an adapter: {e}\nOn Debian, apt-get install libvulkan1 mesa-vulkan-drivers brings one that \
             runs on the CPU (scripts/test does it). With PARSEC_NO_GPU=1 in the environment such tests are skipped."
        ),
    }
}

/// Buffers on the suite's device for tests of kernels. All tests share these buffers, and one test at a time holds
/// them. `None` and panics are as for [`device`].
#[track_caller]
pub fn gpu() -> Option<MutexGuard<'static, Gpu>> {
    static GPU: OnceLock<Mutex<Gpu>> = OnceLock::new();
    let device = device()?;
    let gpu = GPU.get_or_init(|| Mutex::new(Gpu::on(device).unwrap()));
    // The buffers are still usable if a test failed while it held them.
    Some(gpu.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Buffers on the suite's device that a network may own. `None` and panics are as for [`device`].
#[track_caller]
pub fn open() -> Option<Gpu> {
    Some(Gpu::on(device()?).unwrap())
}

/// Buffers on a device of their own, which the test may lose. `None` and panics are as for [`device`].
#[track_caller]
pub fn open_apart() -> Option<Gpu> {
    Some(open()?.apart().unwrap())
}

/// Whether there is a device. Panics like [`device`].
#[track_caller]
pub fn has_gpu() -> bool {
    device().is_some()
}

/// Counts a skipped test. The last line that is printed has the number of all skipped tests.
fn skipped() {
    static SKIPPED: AtomicUsize = AtomicUsize::new(0);
    let n = 1 + SKIPPED.fetch_add(1, Ordering::Relaxed);
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("a test");
    // The test harness captures the output of the macros, so this writes to standard error. A closed standard error is
    // ignored.
    let _ = writeln!(std::io::stderr(), "skipped for PARSEC_NO_GPU=1, {n} so far: {name}");
}

/// A role that no other test uses.
const MINE: Buf = Buf::Extra(900);
const N_BYTES: u64 = 4096;

fn range(offset_bytes: u64, len_bytes: u64) -> Range {
    Range { buf: MINE, offset_bytes, len_bytes }
}

/// Fills `range` with `value`.
fn fill(range: Range, value: f32) -> Launch {
    let n_quads = (range.len_bytes / 16) as u32;
    Launch {
        shader: "fill",
        entry: "fill",
        overrides: vec![],
        bindings: vec![("y", range)],
        params: probe::fill_params(n_quads, value),
        grid: [n_quads.div_ceil(256), 1, 1],
        flops: 0,
        bytes: range.len_bytes,
    }
}

fn words(gpu: &mut Gpu) -> Vec<u32> {
    bytemuck::pod_collect_to_vec(&gpu.read(MINE, 0, N_BYTES).unwrap())
}

fn message(result: Result<impl Sized, Error>) -> String {
    match result {
        Err(e @ Error::Kernel { .. }) => e.to_string(),
        Err(e) => panic!("expected a kernel error, got {e}"),
        Ok(_) => panic!("expected a kernel error"),
    }
}

/// Runs two fills in order on a poisoned buffer, and returns the words of the buffer.
fn two_fills(gpu: &mut Gpu) -> Vec<u32> {
    gpu.allocate(MINE, N_BYTES).unwrap();
    let poison = vec![0xDEAD_BEEFu32; N_BYTES as usize / 4];
    gpu.write(MINE, 0, bytemuck::cast_slice(&poison)).unwrap();
    let recorded = gpu.prepare(&[fill(range(256, 1040), 1.5), fill(range(512, 64), -2.0)]).unwrap();
    assert_eq!(recorded.len(), 2);
    gpu.submit(&recorded).unwrap();
    words(gpu)
}

#[test]
fn fill_writes_its_range_in_order_and_nothing_else() {
    let Some(mut gpu) = gpu() else { return };
    let got = two_fills(&mut gpu);
    for (i, word) in got.iter().enumerate() {
        let expected = match i * 4 {
            512..576 => (-2.0f32).to_bits(),
            256..1296 => 1.5f32.to_bits(),
            _ => 0xDEAD_BEEF,
        };
        assert_eq!(*word, expected, "word {i}");
    }
}

#[test]
fn checked_and_unchecked_kernels_give_the_same_bits() {
    let Some(mut unchecked) = gpu() else { return };
    let mut checked =
        Gpu::open(None, Options { limits: LimitsChoice::Adapter, checks: true, ..Options::default() })
            .unwrap();
    assert_eq!(two_fills(&mut unchecked), two_fills(&mut checked));
}

#[test]
fn a_recorded_list_runs_again_and_an_outdated_one_is_refused() {
    let Some(mut gpu) = gpu() else { return };
    gpu.allocate(MINE, N_BYTES).unwrap();
    let recorded = gpu.prepare(&[fill(range(0, N_BYTES), 3.0)]).unwrap();
    for _ in 0..2 {
        gpu.fill_zero(MINE, 0, N_BYTES).unwrap();
        assert!(words(&mut gpu).iter().all(|w| *w == 0));
        gpu.submit(&recorded).unwrap();
        assert!(words(&mut gpu).iter().all(|w| *w == 3f32.to_bits()));
    }
    let secs = gpu.times(&[&recorded], 3).unwrap();
    assert!(secs.len() == 3 && secs[0] > 0.0 && secs.is_sorted());
    gpu.allocate(MINE, N_BYTES).unwrap();
    assert!(message(gpu.submit(&recorded)).contains("replaced"));
}

#[test]
fn many_launches_in_several_submissions_keep_their_order() {
    let Some(mut gpu) = gpu() else { return };
    gpu.allocate(MINE, N_BYTES).unwrap();
    // The stated flops are so large that a submission holds only a few launches.
    let launches: Vec<_> =
        (0..50).map(|i| Launch { flops: 40_000_000, ..fill(range(0, N_BYTES), i as f32) }).collect();
    let recorded = gpu.prepare(&launches).unwrap();
    gpu.submit(&recorded).unwrap();
    assert!(words(&mut gpu).iter().all(|w| *w == 49f32.to_bits()));
    assert_eq!(recorded.flops, 50 * 40_000_000);
}

#[test]
fn copies_and_read_backs_take_the_asked_range() {
    let Some(mut gpu) = gpu() else { return };
    let other = Buf::Extra(901);
    gpu.allocate(MINE, N_BYTES).unwrap();
    gpu.allocate(other, 512).unwrap();
    let data: Vec<u32> = (0..N_BYTES as u32 / 4).collect();
    gpu.write(MINE, 0, bytemuck::cast_slice(&data)).unwrap();
    gpu.copy(range(400, 8), other, 16).unwrap();
    let got: Vec<u32> = bytemuck::pod_collect_to_vec(&gpu.read(other, 12, 16).unwrap());
    assert_eq!(got, [0, 100, 101, 0]);
    assert!(message(gpu.read(other, 508, 8)).contains("512"));
    assert!(message(gpu.write(other, 2, &[0; 4])).contains("multiples of 4"));
    assert!(message(gpu.read(Buf::Extra(902), 0, 4)).contains("no buffer"));
}

#[test]
fn wrong_launches_are_refused_with_the_reason() {
    let Some(mut gpu) = gpu() else { return };
    gpu.allocate(MINE, N_BYTES).unwrap();
    let good = fill(range(0, 256), 1.0);
    let y = good.bindings[0];
    let with = |bindings| Launch { bindings, ..good.clone() };
    let cases = [
        (with(vec![]), "y is not bound"),
        (with(vec![("x", y.1)]), "y is not bound"),
        (with(vec![y, ("x", y.1)]), "x is bound"),
        (with(vec![y, y]), "bound twice"),
        (with(vec![("y", range(16, 256))]), "multiple of 256"),
        (with(vec![("y", range(0, 24))]), "multiple of 16"),
        (with(vec![("y", range(256, N_BYTES))]), "outside"),
        (with(vec![("y", Range { buf: Buf::Extra(902), ..y.1 })]), "no buffer"),
        (Launch { grid: [65_536, 1, 1], ..good.clone() }, "65535"),
        (Launch { grid: [1, 0, 1], ..good.clone() }, "grid"),
        (Launch { params: Params::new().set("n_quads", 1), ..good.clone() }, "params.value is not set"),
        (
            Launch { params: good.params.clone().set("rounds", 1), ..good.clone() },
            "params has no rounds; it has",
        ),
        (Launch { params: good.params.clone().set("value", 1), ..good.clone() }, "params.value is set twice"),
        (
            Launch { params: Params::new().rows("n_quads", [[1, 2]]).set("value", 1), ..good.clone() },
            "params.n_quads has 1 words, 2 were given",
        ),
        (Launch { overrides: vec![("K", 3)], ..good.clone() }, "override"),
        (Launch { shader: "nothing", ..good.clone() }, "no such shader"),
        (Launch { entry: "nothing", ..good.clone() }, "no entry point"),
    ];
    for (launch, reason) in cases {
        let text = message(gpu.prepare(std::slice::from_ref(&launch)));
        assert!(text.contains(reason), "expected {reason:?} in {text:?}");
    }
    assert!(gpu.prepare(&[good]).is_ok());
}

#[test]
fn too_large_a_buffer_is_a_memory_error_and_leaves_the_device_usable() {
    let Some(mut gpu) = gpu() else { return };
    let before = gpu.allocated_bytes();
    match gpu.allocate(Buf::Extra(903), 1 << 40) {
        Err(Error::Memory { need_bytes, have_bytes, .. }) => assert!(need_bytes > have_bytes),
        other => panic!("expected a memory error, got {other:?}"),
    }
    assert_eq!(gpu.allocated_bytes(), before);
    two_fills(&mut gpu);
}

#[test]
fn a_device_is_chosen_by_index_or_part_of_its_name() {
    let Some(mut in_use) = gpu() else { return };
    two_fills(&mut in_use);
    let all = gpu::adapters();
    assert!(all.iter().enumerate().all(|(i, a)| a.index == i));
    assert_eq!(gpu::choose(Some("0")).unwrap().name, all[0].name);
    let part = all[0].name[..4].to_uppercase();
    assert!(gpu::choose(Some(&part)).unwrap().name.to_uppercase().contains(&part));
    match gpu::choose(Some("no such device")) {
        Err(e @ Error::Usage { .. }) => assert!(e.to_string().contains(&all[0].name), "{e}"),
        other => panic!("expected a usage error, got {other:?}"),
    }
}

#[test]
fn every_entry_point_translates_to_four_languages() {
    for source in kernel::SOURCES {
        let kernel = kernel::kernel(source.name).unwrap();
        assert!(!kernel.entries.is_empty(), "{} has no entry point", source.name);
        assert!(kernel.overrides.iter().all(|(_, has_default)| *has_default), "{}", source.name);
        for entry in &kernel.entries {
            let t = kernel::translate(kernel, &entry.name, &[]).unwrap();
            assert_eq!(t.spirv[0], 0x0723_0203);
            assert!(t.msl.contains("kernel void") && t.hlsl.contains("numthreads"));
            assert!(t.glsl.starts_with("#version 310 es"));
        }
    }
    let fill = kernel::kernel("fill").unwrap();
    assert!(message(kernel::translate(fill, "fill", &[("K", 1)])).contains("'K'"));
}

#[test]
fn a_broken_shader_is_reported_with_its_file_and_line() {
    let parse = |text| kernel::reflect(&kernel::Source { name: "broken", text });
    assert!(message(parse("const a = 1u;\nconst b = ;\n")).contains("shaders/broken.wgsl:2:11"));
    let out_of_scope = "fn f() -> f32 {\n  return 1u;\n}\n";
    assert!(message(parse(out_of_scope)).contains("shaders/broken.wgsl:"));
    let half = "enable f16;\n@compute @workgroup_size(8) fn f() { var x = 1h; x += 1h; }";
    message(parse(half));
    let too_wide = "@compute @workgroup_size(512) fn f() {}";
    assert!(message(parse(too_wide)).contains("WebGPU guarantees 256"));
    let missing = kernel::Source { name: "broken", text: "//@use nothing\n" };
    assert!(message(kernel::reflect(&missing)).contains("shaders/lib/nothing.wgsl"));
}

#[test]
fn the_list_of_devices_has_what_users_and_the_manifest_need() {
    let Some(gpu) = gpu() else { return };
    let json = serde_json::to_value(gpu.info()).unwrap();
    for key in ["index", "name", "backend", "device_type", "driver", "driver_info", "is_software", "limits"] {
        assert!(!json[key].is_null(), "{key} is missing in {json}");
    }
    assert!(gpu.info().limits.max_storage_buffer_binding_size >= 128 << 20);
    assert_eq!(gpu.max_binding_bytes(), 128 << 20, "the suite runs with WebGPU's default limits");
    parsec_nas::cli::devices::devices(true).unwrap();
    parsec_nas::cli::devices::devices(false).unwrap();
}

/// An adapter that never answers must not block the program. The work is given up, and dropping the `Gpu` does not
/// wait.
#[test]
fn work_that_does_not_end_in_time_counts_as_a_lost_adapter() {
    if !has_gpu() {
        return;
    }
    let patience = Some(Duration::from_millis(1));
    let mut slow = Gpu::open(None, Options { patience, ..options() }).unwrap();
    let out = Array { buf: MINE, offset_bytes: 0, bytes: 2048 * 64 * 16 };
    slow.allocate(MINE, out.bytes).unwrap();
    // About a second of work.
    let recorded = slow.prepare(&[probe::arithmetic(out, 2048, 1000)]).unwrap();
    let started = Instant::now();
    let lost = slow.submit(&recorded).and_then(|()| slow.wait());
    match lost {
        Err(Error::Lost { message, .. }) => {
            assert!(message.contains("has not finished its work"), "{message}")
        }
        other => panic!("expected a lost adapter, got {other:?}"),
    }
    // The adapter stays lost.
    assert!(matches!(slow.read(MINE, 0, 16), Err(Error::Lost { .. })));
    drop(slow);
    assert!(started.elapsed() < Duration::from_secs(60));
}

/// Kernels are compiled once per device and form. Each `Gpu` has its own buffers.
#[test]
fn those_who_share_a_device_share_its_kernels_and_no_buffers() {
    let Some(mut first) = open_apart() else { return };
    let mut second = first.another().unwrap();
    let (told, seen) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let list = Arc::clone(&told);
    first.listen(move |ready, known| list.lock().unwrap().push((ready, known)));
    two_fills(&mut first);
    assert_eq!((first.n_pipelines(), second.n_pipelines()), (1, 1));
    assert!(!second.has(MINE, 1));
    let expected = words(&mut first);
    assert_eq!(two_fills(&mut second), expected);
    assert_eq!(second.n_pipelines(), 1);
    second.fill_zero(MINE, 0, N_BYTES).unwrap();
    assert_eq!(words(&mut first), expected);
    assert_eq!(*told.lock().unwrap(), [(1, 1)], "compiled once, by whichever of the two");

    // A kernel without textures is compiled once for both ways of reading. A kernel with textures is compiled for each
    // way.
    let case = cases::all().into_iter().find(|c| c.name().starts_with("pointwise")).unwrap();
    let setup = case.setup();
    let before = run::execute(&mut first, &setup).unwrap();
    let n_before = first.n_pipelines();
    let list = Arc::clone(&seen);
    second.listen(move |ready, known| list.lock().unwrap().push(ready <= known));
    second.read_through_textures(!first.reads_through_textures());
    two_fills(&mut second);
    assert_eq!(second.n_pipelines(), n_before);
    assert!(run::execute(&mut second, &setup).unwrap() == before);
    assert!(second.n_pipelines() > n_before);
    let n_both = second.n_pipelines();
    assert!(run::execute(&mut first, &setup).unwrap() == before);
    assert_eq!(first.n_pipelines(), n_both);
    let seen = seen.lock().unwrap();
    assert!(!seen.is_empty() && seen.iter().all(|in_order| *in_order));
}

/// A launch of a kernel that cannot be compiled, because its window has no elements.
fn refused() -> Launch {
    Launch { shader: "conv", overrides: vec![("K", 0)], entry: "forward", ..fill(range(0, 256), 1.0) }
}

/// A failure on a shared device is returned by the call that failed, also when other threads work at the same time.
#[test]
fn a_failure_on_a_shared_device_is_that_of_its_call() {
    let Some(device) = device() else { return };
    let expected = two_fills(&mut Gpu::on(device).unwrap());
    std::thread::scope(|scope| {
        for wrong in [true, false, false] {
            let expected = &expected;
            scope.spawn(move || {
                let mut gpu = Gpu::on(device).unwrap();
                for _ in 0..20 {
                    if wrong {
                        let text = message(gpu.prepare(&[refused()]));
                        assert!(text.contains("conv"), "{text}");
                    }
                    assert_eq!(two_fills(&mut gpu), *expected);
                }
            });
        }
    });
}

#[test]
fn a_device_that_is_lost_is_lost_for_all_who_share_it() {
    let Some(mut first) = open_apart() else { return };
    let mut second = first.another().unwrap();
    let mut third = first.apart().unwrap();
    let expected = two_fills(&mut first);
    assert_eq!(two_fills(&mut second), expected);
    (first.breaker())();
    let lost = |result: Result<Vec<u8>, Error>| {
        let Err(Error::Lost { message, .. }) = result else { panic!("{result:?}") };
        assert!(message.contains("destroyed"), "{message}");
    };
    // Each `Gpu` reports the loss when it waits, at the latest.
    std::thread::scope(|scope| {
        for gpu in [&mut first, &mut second] {
            scope.spawn(|| lost(gpu.read(MINE, 0, 16)));
        }
    });
    // After that every call reports the loss at once.
    lost(second.allocate(MINE, 16).map(|()| vec![]));
    lost(first.another().map(|_| vec![]));
    assert_eq!(two_fills(&mut third), expected, "another device");
}

#[test]
fn direct3d_12s_newer_compiler_is_found_where_it_lies() {
    let (with, without) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    std::fs::write(with.path().join("dxcompiler.dll"), "").unwrap();
    let folders =
        |list: &[&TempDir]| list.iter().map(|f| f.path().to_owned()).collect::<Vec<std::path::PathBuf>>();
    assert!(has_dxc(folders(&[&without, &with])));
    assert!(!has_dxc(folders(&[&without])) && !has_dxc([]));
}

/// Times by the adapter's clock and by the host's clock have the same order of magnitude if the unit is right. The test
/// does not check how long anything takes.
#[test]
fn the_adapters_clock_has_the_unit_it_says() {
    let Some(mut gpu) = gpu() else { return };
    if !gpu.has_clock() {
        return;
    }
    let out = Array { buf: MINE, offset_bytes: 0, bytes: 256 * 64 * 16 };
    gpu.allocate(MINE, out.bytes).unwrap();
    let recorded = gpu.prepare(&[probe::arithmetic(out, 256, 500)]).unwrap();
    let by_adapter = gpu.times(&[&recorded], 1).unwrap()[0];
    let start = Instant::now();
    gpu.submit(&recorded).unwrap();
    gpu.wait().unwrap();
    let by_host = start.elapsed().as_secs_f64();
    assert!(by_adapter > by_host / 100.0 && by_adapter < 100.0 * by_host, "{by_adapter} {by_host}");
}
