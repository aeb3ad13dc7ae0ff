//! An entry point with its constants set → SPIR-V, MSL, HLSL and GLSL, without a GPU.
//!
//! wgpu makes these translations on Linux, Apple and Windows (GLSL is an additional check). A test that translates
//! every kernel finds errors that would otherwise appear on another platform only.

use naga::back::{PipelineConstants, glsl, hlsl, msl, pipeline_constants, spv};

use super::reflect::{Kernel, error};
use crate::Result;

/// One entry point in four languages.
#[derive(Clone, Debug)]
pub struct Translations {
    /// SPIR-V 1.3 words (Vulkan).
    pub spirv: Vec<u32>,
    /// Metal 2.1.
    pub msl: String,
    /// HLSL for shader model 5.1, the form that the slow but always present compiler of Windows accepts.
    pub hlsl: String,
    /// OpenGL ES 3.1.
    pub glsl: String,
}

/// Translates entry point `entry` with these values of `override` constants. The other constants keep their
/// defaults. Error: [`crate::Error::Kernel`], which names the language.
pub fn translate(kernel: &Kernel, entry: &str, overrides: &[(&str, u32)]) -> Result<Translations> {
    kernel.entry(entry)?;
    let stage = naga::ShaderStage::Compute;
    let fail =
        |language: &str, e: &dyn std::fmt::Display| error(&kernel.name, format!("{entry}: {language}: {e}"));

    let constants: PipelineConstants =
        overrides.iter().map(|(name, value)| ((*name).to_owned(), f64::from(*value))).collect();
    let (module, info) =
        pipeline_constants::process_overrides(&kernel.module, &kernel.info, Some((stage, entry)), &constants)
            .map_err(|e| fail("override constants", &e))?;

    let options = spv::Options { lang_version: (1, 3), ..Default::default() };
    let pipeline = spv::PipelineOptions { shader_stage: stage, entry_point: entry.into() };
    let spirv = spv::write_vec(&module, &info, &options, Some(&pipeline)).map_err(|e| fail("SPIR-V", &e))?;

    let options = msl::Options { lang_version: (2, 1), ..Default::default() };
    let pipeline = msl::PipelineOptions { entry_point: Some((stage, entry.into())), ..Default::default() };
    let (msl, names) = msl::write_string(&module, &info, &options, &pipeline).map_err(|e| fail("MSL", &e))?;
    for name in names.entry_point_names {
        name.map_err(|e| fail("MSL", &e))?;
    }

    let mut hlsl = String::new();
    let options = hlsl::Options::default();
    let pipeline = hlsl::PipelineOptions { entry_point: Some((stage, entry.into())) };
    let names = hlsl::Writer::new(&mut hlsl, &options, &pipeline)
        .write(&module, &info, None)
        .map_err(|e| fail("HLSL", &e))?;
    for name in names.entry_point_names {
        name.map_err(|e| fail("HLSL", &e))?;
    }

    let mut glsl = String::new();
    let options = glsl::Options::default();
    let pipeline = glsl::PipelineOptions { shader_stage: stage, entry_point: entry.into(), multiview: None };
    let policies = naga::proc::BoundsCheckPolicies::default();
    glsl::Writer::new(&mut glsl, &module, &info, &options, &pipeline, policies)
        .and_then(|mut writer| writer.write())
        .map_err(|e| fail("GLSL", &e))?;

    Ok(Translations { spirv, msl, hlsl, glsl })
}
