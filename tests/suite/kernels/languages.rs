//! Every set of overrides that plans and cases use is translated to all languages, in every form that an adapter may
//! get.

use std::collections::BTreeSet;

use parsec_nas::kernel::{Kernel, kernel, translate};
use parsec_nas::selftest::shaders::{forms, sets};

#[test]
fn every_override_set_translates_to_four_languages_in_every_form() {
    let all = sets().unwrap();
    assert!(all.len() > 150, "{}", all.len());
    for set in all {
        let (shader, entry, overrides) = &set;
        let names = |k: &Kernel| -> BTreeSet<(String, u32)> {
            k.entry(entry).unwrap().bindings.iter().map(|b| (b.name.clone(), b.number)).collect()
        };
        let source = kernel(shader).unwrap();
        for (form, kernel) in forms(&set).unwrap() {
            let left: &[(&str, u32)] = if form == "written" { overrides } else { &[] };
            if form != "written" {
                assert_eq!(kernel.entries.len(), 1);
                assert!(kernel.overrides.is_empty());
            }
            // Bindings may disappear. No binding may be new, except the bases of textures.
            let mut there = names(&kernel);
            if form == "textures" {
                there.retain(|(name, _)| name != "bases");
            }
            assert!(there.is_subset(&names(source)), "{shader}::{entry} {form}");
            let t = translate(&kernel, entry, left).unwrap();
            assert_eq!(t.spirv[0], 0x0723_0203);
            assert!(t.msl.contains("kernel void") && t.hlsl.contains("numthreads"));
            assert!(t.glsl.starts_with("#version 310 es"));
        }
    }
}
