package polystore.fiji.imagej;

import ij.ImageStack;
import ij.process.ColorProcessor;
import ij.process.FloatProcessor;
import ij.process.ImageProcessor;
import ij.process.ShortProcessor;
import java.awt.Image;
import java.awt.image.BufferedImage;
import java.awt.image.ColorModel;
import java.awt.image.DataBufferByte;
import java.awt.image.IndexColorModel;

/**
 * A stack of label images. Each id is painted in a colour of the lookup table.
 *
 * <p>ImageJ divides the display range of 16 and 32 bits into 256 colours. Many ids would share one,
 * and the first ones would be black. Here an id has the colour of the same number, from 1 to 255 and
 * then again. Pixels and all measurements of ImageJ are still the ids.
 */
final class LabelStack extends ImageStack {
    LabelStack(int width, int height, int size) {
        super(width, height, size);
    }

    @Override
    public ImageProcessor getProcessor(int slice) {
        ImageProcessor plain = super.getProcessor(slice);
        if (plain instanceof ShortProcessor)
            return new Ids16(getWidth(), getHeight(), (short[]) plain.getPixels(), getColorModel());
        if (plain instanceof FloatProcessor)
            return new Ids32(getWidth(), getHeight(), (float[]) plain.getPixels(), getColorModel());
        return plain;
    }

    private static byte color(long id) {
        return id == 0 ? 0 : (byte) (Math.floorMod(id - 1, 255L) + 1);
    }

    private static BufferedImage picture(ImageProcessor of) {
        IndexColorModel model = (IndexColorModel) of.getColorModel();
        return new BufferedImage(
                of.getWidth(), of.getHeight(), BufferedImage.TYPE_BYTE_INDEXED, model);
    }

    private static byte[] data(BufferedImage picture) {
        return ((DataBufferByte) picture.getRaster().getDataBuffer()).getData();
    }

    /** Whether ImageJ paints the pixels between two thresholds, instead of colours. */
    private static boolean isThreshold(ImageProcessor of) {
        return of.getMinThreshold() != ImageProcessor.NO_THRESHOLD
                && of.getLutUpdateMode() != ImageProcessor.NO_LUT_UPDATE;
    }

    private static final class Ids16 extends ShortProcessor {
        private static final byte[] COLORS = new byte[1 << 16];

        static {
            for (int id = 0; id < COLORS.length; id++) COLORS[id] = color(id);
        }

        Ids16(int width, int height, short[] pixels, ColorModel model) {
            super(width, height, pixels, model);
            setMinAndMax(0, 255);
        }

        @Override
        public Image createImage() {
            if (isThreshold(this)) return super.createImage();
            BufferedImage picture = picture(this);
            byte[] colors = data(picture);
            short[] ids = (short[]) getPixels();
            for (int at = 0; at < ids.length; at++) colors[at] = COLORS[ids[at] & 0xffff];
            return picture;
        }

        @Override
        public BufferedImage getBufferedImage() {
            return new ColorProcessor(createImage()).getBufferedImage();
        }

        @Override
        public ImageProcessor convertToRGB() {
            return new ColorProcessor(createImage());
        }

        @Override
        public ImageProcessor createProcessor(int width, int height) {
            return new Ids16(width, height, new short[width * height], getColorModel());
        }
    }

    private static final class Ids32 extends FloatProcessor {
        Ids32(int width, int height, float[] pixels, ColorModel model) {
            super(width, height, pixels, model);
            setMinAndMax(0, 255);
        }

        @Override
        public Image createImage() {
            if (isThreshold(this)) return super.createImage();
            BufferedImage picture = picture(this);
            byte[] colors = data(picture);
            float[] ids = (float[]) getPixels();
            for (int at = 0; at < ids.length; at++) colors[at] = color((long) ids[at]);
            return picture;
        }

        @Override
        public BufferedImage getBufferedImage() {
            return new ColorProcessor(createImage()).getBufferedImage();
        }

        @Override
        public ImageProcessor convertToRGB() {
            return new ColorProcessor(createImage());
        }

        @Override
        public ImageProcessor createProcessor(int width, int height) {
            return new Ids32(width, height, new float[width * height], getColorModel());
        }
    }
}
