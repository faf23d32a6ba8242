package polystore.fiji;

import ij.IJ;
import ij.ImagePlus;
import ij.plugin.PlugIn;
import polystore.fiji.imagej.Fiji;

/** The menu entry "Show or hide scale bar": of the image in front, if a pipeline has sent it. */
public final class ToggleScaleBar implements PlugIn {
    @Override
    public void run(String argument) {
        ImagePlus image = IJ.getImage();
        if (!Fiji.toggleScaleBar(image))
            IJ.error(
                    "polystore",
                    "'" + image.getTitle() + "' is not an image of a pipeline. For other images"
                            + " use Analyze > Tools > Scale Bar...");
    }
}
