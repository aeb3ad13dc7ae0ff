//! The height and width of images: an integer for a square, or two.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Height and width of images in pixels. As text and in files a square is one integer: `32`. Other sizes are height and
/// width: `24,32`, in files `[24, 32]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Form", from = "Form")]
pub struct Size {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// The form in a file.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form {
    Side(usize),
    Sides([usize; 2]),
}

impl From<Size> for Form {
    fn from(size: Size) -> Self {
        let Size { height, width } = size;
        if height == width { Self::Side(height) } else { Self::Sides([height, width]) }
    }
}

impl From<Form> for Size {
    fn from(form: Form) -> Self {
        match form {
            Form::Side(side) => Self::square(side),
            Form::Sides([height, width]) => Self { height, width },
        }
    }
}

impl Size {
    /// The size of a square.
    pub const fn square(side: usize) -> Self {
        Self { height: side, width: side }
    }

    /// Number of pixels.
    pub const fn area(self) -> usize {
        self.height * self.width
    }

    /// Both sides.
    pub const fn sides(self) -> [usize; 2] {
        [self.height, self.width]
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let side = |text: &str| text.trim().parse().ok().filter(|side| *side > 0);
        let size = match s.split_once(',') {
            None => side(s).map(Self::square),
            Some((height, width)) => {
                side(height).zip(side(width)).map(|(height, width)| Self { height, width })
            }
        };
        size.ok_or_else(|| "an integer, or height and width separated by a comma (24,32)".into())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.height)?;
        if self.width == self.height { Ok(()) } else { write!(f, ",{}", self.width) }
    }
}
