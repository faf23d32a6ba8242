package polystore.fiji.imagej;

import ij.CompositeImage;
import ij.ImagePlus;
import ij.ImageStack;
import ij.gui.ImageCanvas;
import ij.gui.ImageWindow;
import ij.gui.Overlay;
import ij.gui.Roi;
import ij.gui.StackWindow;
import java.awt.Graphics;
import java.awt.Point;

/**
 * The window of one image, and the user's changes of it: its position, its zoom, and the overlay
 * of the image. ImageJ makes another window, and sometimes another image, when a
 * pipeline updates it. The new one takes over these changes.
 */
final class Pane {
    private ScaleBar bar = new ScaleBar();
    /** Place and zoom for the next window. */
    private Point location;
    private double zoom;
    private Overlay overlay;
    private Roi selection;

    ScaleBar bar() {
        return bar;
    }

    /** Remember the changes of an image that will be closed, for one of this size. */
    void inherit(ImagePlus old, int width, int height) {
        overlay = old.getOverlay();
        Roi roi = old.getRoi();
        selection = roi != null && fits(roi, width, height) ? (Roi) roi.clone() : null;
        ImageWindow window = old.getWindow();
        if (window == null) return;
        location = window.getLocation();
        boolean isAlike = old.getWidth() == width && old.getHeight() == height;
        zoom = isAlike ? window.getCanvas().getMagnification() : 0;
    }

    /** Take over the changes of another pane, too. */
    void inherit(Pane old, ImagePlus image, int width, int height) {
        inherit(image, width, height);
        bar = old.bar;
    }

    private static boolean fits(Roi roi, int width, int height) {
        java.awt.Rectangle bounds = roi.getBounds();
        return bounds.x >= 0
                && bounds.y >= 0
                && bounds.x + bounds.width <= width
                && bounds.y + bounds.height <= height;
    }

    /** Give an image the overlay of the image before. */
    void dress(ImagePlus image) {
        if (overlay != null) image.setOverlay(overlay);
        if (selection != null) image.setRoi(selection);
        selection = null;
    }

    /** Open the window of an image at the place of the one before. */
    void open(ImagePlus image) {
        if (location != null) ImageWindow.setNextLocation(location);
        window(image);
        ((Opened) image).tellListeners();
        if (zoom > 0 && image.getCanvas().getMagnification() != zoom) magnify(image);
        location = null;
        zoom = 0;
    }

    private void window(ImagePlus image) {
        if (image.getStackSize() > 1) new StackWindow(image, new Canvas(image, bar));
        else new ImageWindow(image, new Canvas(image, bar));
    }

    /** Give an image more slices, in its window. */
    void setStack(ImagePlus image, ImageStack stack, int channels, int slices, int frames) {
        ImageCanvas canvas = image.getCanvas();
        Point place = image.getWindow() == null ? null : image.getWindow().getLocation();
        zoom = canvas == null ? 0 : canvas.getMagnification();
        image.setOpenAsHyperStack(true);
        image.setStack(stack, channels, slices, frames);
        // For another slider, ImageJ makes another window, and forgets the zoom.
        ImageCanvas now = image.getCanvas();
        if (now != null && now.getClass() == ImageCanvas.class) {
            image.setOpenAsHyperStack(true);
            window(image);
            // The new window may be at another place until the screen has moved it.
            if (place != null) image.getWindow().setLocation(place);
            now = image.getCanvas();
        }
        if (now != null && now != canvas && zoom > 0 && zoom != now.getMagnification()) magnify(image);
        zoom = 0;
    }

    private void magnify(ImagePlus image) {
        image.getCanvas().setMagnification(zoom);
        image.getWindow().pack();
    }

    /** Show or hide the scale bar of an image. Return whether it is in a window of ours. */
    static boolean toggleBar(ImagePlus image) {
        if (!(image.getCanvas() instanceof Canvas)) return false;
        ((Canvas) image.getCanvas()).bar.toggle();
        image.getCanvas().repaint();
        return true;
    }

    private static final class Canvas extends ImageCanvas {
        private static final long serialVersionUID = 1;
        private final transient ScaleBar bar;

        Canvas(ImagePlus image, ScaleBar bar) {
            super(image);
            this.bar = bar;
        }

        @Override
        public void paint(Graphics graphics) {
            super.paint(graphics);
            bar.paint(graphics, imp, getMagnification(), getSize());
        }
    }

    /** An image whose window we open. ImageJ tells its listeners only of images that it opens. */
    interface Opened {
        void tellListeners();
    }

    static final class Plain extends ImagePlus implements Opened {
        Plain(String title, ImageStack stack) {
            super(title, stack);
        }

        @Override
        public void tellListeners() {
            notifyListeners(OPENED);
        }
    }

    static final class Composite extends CompositeImage implements Opened {
        Composite(ImagePlus image, int mode) {
            super(image, mode);
        }

        @Override
        public void tellListeners() {
            notifyListeners(OPENED);
        }
    }
}
