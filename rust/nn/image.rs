//! Images, and how they lie in the columns of a matrix [batch, columns].

use crate::matrix::panels_of;
use crate::simd::{LANES, WIDTH};

/// Height, width and channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageShape {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Numbers of a pixel.
    pub channels: usize,
}

impl ImageShape {
    /// Pixels.
    pub fn positions(&self) -> usize {
        self.height * self.width
    }

    /// Numbers.
    pub fn size(&self) -> usize {
        self.positions() * self.channels
    }
}

/// The columns of an image. Pixels go row by row, and channels come last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// The channels of each pixel start a panel: activations.
    Panels,
    /// One number after the other: x, and the output with one number per feature.
    Flat,
    /// The output with two numbers per feature: a panel has one number of sixteen features and then the other. The channels of
    /// an image are those of the first numbers and then those of the second.
    Halves,
    /// x, and behind it the indicators of its missing values. The channels of an image are those of x and then the indicators.
    Indicated,
}

/// A part of a pixel's channels that lie side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The panel.
    pub panel: usize,
    /// The first column in it.
    pub lane: usize,
    /// The first channel.
    pub channel: usize,
    /// The number of channels.
    pub count: usize,
}

/// An image in a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// The image.
    pub shape: ImageShape,
    /// Its columns.
    pub storage: Storage,
}

impl Image {
    /// Activations.
    pub fn panels_of(shape: ImageShape) -> Image {
        Image { shape, storage: Storage::Panels }
    }

    /// Panels of a pixel, where each pixel has its own.
    pub fn pixel_panels(&self) -> usize {
        panels_of(self.shape.channels)
    }

    /// Columns of the matrix, with padding between pixels.
    pub fn cols(&self) -> usize {
        let ImageShape { channels, .. } = self.shape;
        match self.storage {
            Storage::Panels if self.shape.positions() == 1 => channels,
            Storage::Panels => self.shape.positions() * self.pixel_panels() * WIDTH,
            Storage::Flat | Storage::Indicated => self.shape.size(),
            Storage::Halves => {
                let last = self.shape.size() / 2 - 1;
                last / LANES * WIDTH + LANES + last % LANES + 1
            }
        }
    }

    /// Panels of the matrix.
    pub fn panels(&self) -> usize {
        panels_of(self.cols())
    }

    /// The panel and the column in it of a channel of a pixel.
    pub fn place(&self, position: usize, channel: usize) -> (usize, usize) {
        let channels = self.shape.channels;
        match self.storage {
            Storage::Panels => (position * self.pixel_panels() + channel / WIDTH, channel % WIDTH),
            Storage::Flat => {
                let feature = position * channels + channel;
                (feature / WIDTH, feature % WIDTH)
            }
            Storage::Halves => {
                let half = channels / 2;
                let feature = position * half + channel % half;
                (feature / LANES, channel / half * LANES + feature % LANES)
            }
            Storage::Indicated => {
                let half = channels / 2;
                let features = self.shape.positions() * half;
                let column = channel / half * features + position * half + channel % half;
                (column / WIDTH, column % WIDTH)
            }
        }
    }

    /// The channels of a pixel in runs, ascending.
    pub fn runs(&self, position: usize) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for channel in 0..self.shape.channels {
            let (panel, lane) = self.place(position, channel);
            match runs.last_mut() {
                Some(run) if run.panel == panel && run.lane + run.count == lane => run.count += 1,
                _ => runs.push(Run { panel, lane, channel, count: 1 }),
            }
        }
        runs
    }
}
