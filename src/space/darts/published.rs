//! Published genotypes by name.
//!
//! Each genotype is from the repository of its authors, with the pairs in their order. Genotypes that only other
//! people have written down are left out, because such copies differ.

use super::primitive::Primitive::{
    self, AvgPool3x3 as A, DilConv3x3 as D3, DilConv5x5 as D5, MaxPool3x3 as M, SepConv3x3 as S3,
    SepConv5x5 as S5, SkipConnect as I,
};
use super::{CellArch, Genotype, Pair};

/// The eight terms of a cell: operation and input.
type Terms = [(Primitive, usize); 8];

/// A published genotype.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// Name in upper case.
    pub name: &'static str,
    /// Other names for the same genotype.
    pub also: &'static [&'static str],
    /// Paper; repository, file and name in the file.
    pub source: &'static str,
    normal: Terms,
    reduce: Terms,
}

impl Published {
    /// The genotype.
    pub fn genotype(&self) -> Genotype {
        let cell = |terms: &Terms| -> CellArch {
            let pair = |(primitive, input)| Pair { input, primitive };
            std::array::from_fn(|node| std::array::from_fn(|slot| pair(terms[2 * node + slot])))
        };
        Genotype { normal: cell(&self.normal), reduce: cell(&self.reduce) }
    }
}

/// The published genotypes.
pub const PUBLISHED: [Published; 17] = [
    Published {
        name: "DARTS_V1",
        also: &[],
        source: "arXiv:1806.09055; github.com/quark0/darts, cnn/genotypes.py, DARTS_V1",
        normal: [(S3, 1), (S3, 0), (I, 0), (S3, 1), (I, 0), (S3, 1), (S3, 0), (I, 2)],
        reduce: [(M, 0), (M, 1), (I, 2), (M, 0), (M, 0), (I, 2), (I, 2), (A, 0)],
    },
    Published {
        name: "DARTS_V2",
        also: &["DARTS"],
        source: "arXiv:1806.09055; github.com/quark0/darts, cnn/genotypes.py, DARTS_V2",
        normal: [(S3, 0), (S3, 1), (S3, 0), (S3, 1), (S3, 1), (I, 0), (I, 0), (D3, 2)],
        reduce: [(M, 0), (M, 1), (I, 2), (M, 1), (M, 0), (I, 2), (I, 2), (M, 1)],
    },
    Published {
        name: "PC_DARTS_CIFAR",
        also: &["PC_DARTS", "PCDARTS"],
        source: "arXiv:1907.05737; github.com/yuhuixu1993/PC-DARTS, genotypes.py, PC_DARTS_cifar",
        normal: [(S3, 1), (I, 0), (S3, 0), (D3, 1), (S5, 0), (S3, 1), (A, 0), (D3, 1)],
        reduce: [(S5, 1), (M, 0), (S5, 1), (S5, 2), (S3, 0), (S3, 3), (S3, 1), (S3, 2)],
    },
    Published {
        name: "PC_DARTS_IMAGE",
        also: &["PC_DARTS_IMAGENET"],
        source: "arXiv:1907.05737; github.com/yuhuixu1993/PC-DARTS, genotypes.py, PC_DARTS_image",
        normal: [(I, 1), (S3, 0), (S3, 0), (I, 1), (S3, 1), (S3, 3), (S3, 1), (D5, 4)],
        reduce: [(S3, 0), (I, 1), (D5, 2), (M, 1), (S3, 2), (S3, 1), (S5, 0), (S3, 3)],
    },
    Published {
        name: "PDARTS",
        also: &["P_DARTS"],
        source: "arXiv:1904.12760; github.com/chenxin061/pdarts, genotypes.py, PDARTS",
        normal: [(I, 0), (D3, 1), (I, 0), (S3, 1), (S3, 1), (S3, 3), (S3, 0), (D5, 4)],
        reduce: [(A, 0), (S5, 1), (S3, 0), (D5, 2), (M, 0), (D3, 1), (D3, 1), (D5, 3)],
    },
    Published {
        name: "GDAS_V1",
        also: &["GDAS"],
        source: "arXiv:1910.04465; github.com/D-X-Y/AutoDL-Projects, xautodl/nas_infer_model/DXYs/genotypes.py, GDAS_V1",
        normal: [(I, 0), (I, 1), (I, 0), (S5, 2), (S3, 3), (I, 0), (S5, 4), (S3, 3)],
        reduce: [(S5, 0), (S3, 1), (S5, 2), (S5, 1), (D5, 2), (S3, 1), (S5, 0), (S5, 1)],
    },
    Published {
        name: "SNAS_MILD",
        also: &["SNAS"],
        source: "arXiv:1812.09926; github.com/SNAS-Series/SNAS-Series, SNAS/genotypes.py, SNAS_mild",
        normal: [(S3, 0), (S3, 1), (I, 0), (D3, 1), (I, 0), (I, 1), (I, 0), (S3, 1)],
        reduce: [(M, 0), (M, 1), (M, 1), (I, 2), (M, 1), (I, 2), (M, 0), (D5, 2)],
    },
    Published {
        name: "SNAS_MODERATE",
        also: &[],
        source: "arXiv:1812.09926; github.com/SNAS-Series/SNAS-Series, SNAS/genotypes.py, SNAS_moderate",
        normal: [(D5, 0), (I, 1), (S3, 0), (I, 1), (I, 0), (I, 1), (S3, 0), (D5, 1)],
        reduce: [(M, 0), (M, 1), (S5, 0), (D5, 1), (S5, 0), (S5, 1), (S5, 0), (S5, 1)],
    },
    Published {
        name: "XNAS",
        also: &[],
        source: "arXiv:1906.08031; github.com/NivNayman/XNAS, genotypes.py, XNAS",
        normal: [(S3, 1), (I, 0), (S3, 0), (S3, 2), (S3, 3), (S3, 1), (D5, 4), (S3, 0)],
        reduce: [(M, 0), (A, 1), (A, 0), (I, 2), (D3, 3), (M, 0), (D5, 4), (A, 0)],
    },
    Published {
        name: "SGAS_CRI1",
        also: &["CRI1_CIFAR_BEST", "CRI1_IMAGENET_BEST"],
        source: "arXiv:1912.00195; github.com/lightaime/sgas, cnn/genotypes.py, Cri1_CIFAR_Best",
        normal: [(S3, 0), (D3, 1), (S3, 0), (S3, 1), (S5, 1), (S5, 3), (I, 0), (D5, 2)],
        reduce: [(M, 0), (D5, 1), (S3, 0), (I, 2), (S3, 1), (I, 2), (M, 0), (M, 1)],
    },
    Published {
        name: "SGAS_CRI2",
        also: &["CRI2_CIFAR_BEST"],
        source: "arXiv:1912.00195; github.com/lightaime/sgas, cnn/genotypes.py, Cri2_CIFAR_Best",
        normal: [(S3, 0), (S3, 1), (S3, 0), (S3, 2), (M, 0), (S3, 3), (S3, 2), (S3, 3)],
        reduce: [(S3, 0), (M, 1), (D3, 0), (M, 1), (M, 0), (S3, 2), (M, 0), (S5, 2)],
    },
    Published {
        name: "SGAS_CRI2_IMAGE",
        also: &["CRI2_IMAGENET_BEST"],
        source: "arXiv:1912.00195; github.com/lightaime/sgas, cnn/genotypes.py, Cri2_ImageNet_Best",
        normal: [(S3, 0), (S3, 1), (S3, 0), (S3, 1), (D5, 0), (D3, 2), (S3, 1), (D5, 3)],
        reduce: [(S5, 0), (D3, 1), (M, 0), (M, 1), (D3, 0), (D5, 2), (M, 0), (A, 1)],
    },
    Published {
        name: "DRNAS_CIFAR10",
        also: &["DRNAS"],
        source: "arXiv:2006.10355; github.com/xiangning-chen/DrNAS, DARTS-space/genotypes.py, DrNAS_cifar10",
        normal: [(S3, 0), (S5, 1), (S3, 1), (S3, 2), (I, 0), (S3, 1), (S3, 2), (D5, 3)],
        reduce: [(M, 0), (S5, 1), (D5, 2), (S5, 1), (S5, 1), (D5, 3), (I, 4), (S5, 1)],
    },
    Published {
        name: "DRNAS_IMAGENET",
        also: &[],
        source: "arXiv:2006.10355; github.com/xiangning-chen/DrNAS, DARTS-space/genotypes.py, DrNAS_imagenet",
        normal: [(S3, 1), (S3, 0), (S3, 0), (S3, 1), (S3, 0), (D3, 3), (I, 0), (S3, 1)],
        reduce: [(M, 0), (S3, 1), (S3, 0), (I, 2), (S3, 0), (S3, 2), (S3, 3), (S3, 1)],
    },
    Published {
        name: "SHAPLEY_NAS_CIFAR10",
        also: &["SHAPLEY_NAS"],
        source: "arXiv:2206.09811; github.com/Euphoria16/Shapley-NAS, genotypes.py, shapley_nas_cifar10",
        normal: [(S3, 0), (S3, 1), (S3, 1), (D3, 0), (D3, 2), (I, 3), (S3, 1), (D5, 3)],
        reduce: [(S3, 1), (M, 0), (D5, 2), (S3, 0), (S3, 2), (M, 0), (D3, 3), (I, 2)],
    },
    Published {
        name: "SHAPLEY_NAS_IMAGENET",
        also: &[],
        source: "arXiv:2206.09811; github.com/Euphoria16/Shapley-NAS, genotypes.py, shapley_nas_imagenet",
        normal: [(S3, 1), (S5, 0), (D5, 2), (I, 1), (S3, 2), (S5, 0), (S3, 1), (I, 2)],
        reduce: [(S3, 1), (D3, 0), (A, 2), (S5, 1), (S3, 3), (I, 1), (S3, 2), (S3, 4)],
    },
    Published {
        name: "MDENAS",
        also: &[],
        source: "arXiv:1905.07529; github.com/tanglang96/MDENAS, run_darts_cifar.sh",
        normal: [(S5, 1), (S3, 0), (I, 0), (S5, 1), (S5, 3), (S3, 1), (D5, 3), (M, 4)],
        reduce: [(M, 0), (S5, 1), (I, 0), (I, 1), (S3, 3), (I, 2), (D3, 3), (S5, 0)],
    },
];

/// Published architectures that users of DARTS know by name and that are not in this space, with the reason. Sources:
/// github.com/quark0/darts, cnn/genotypes.py; github.com/D-X-Y/AutoDL-Projects, xautodl/nas_infer_model/DXYs/genotypes.py;
/// github.com/xiaomi-automl/FairDARTS, fairdarts/genotypes.py (ENAS); SNAS as above.
pub const OF_OTHER_SPACES: [(&str, &str); 7] = [
    ("NASNet", "its cells have five nodes, and the operation sep_conv_7x7"),
    ("AmoebaNet", "its cells have five nodes, and the operations sep_conv_7x7 and conv_7x1_1x7"),
    ("PNASNet", "its cells have five nodes, and the operation sep_conv_7x7"),
    ("ENASNet", "its cells have five nodes"),
    ("ENAS", "its cells have five nodes"),
    ("SETN", "it has the operation conv_3x1_1x3"),
    ("FairDARTS", "its nodes have one to four operations, not two"),
];
