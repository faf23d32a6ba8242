package polystore.fiji;

import ij.IJ;
import ij.ImagePlus;
import ij.Menus;
import ij.plugin.PlugIn;
import java.awt.Menu;
import java.awt.MenuBar;
import java.awt.MenuItem;
import polystore.fiji.imagej.Fiji;

/** The menu entry "Show or hide scale bar", for the front image if a pipeline has sent it. */
public final class ToggleScaleBar implements PlugIn {
    private static final String ENTRY = "Show or hide scale bar";

    @Override
    public void run(String argument) {
        ImagePlus image = IJ.getImage();
        if (!Fiji.toggleScaleBar(image))
            IJ.error(
                    "polystore",
                    "'" + image.getTitle() + "' is not an image of a pipeline. For other images"
                            + " use Analyze > Tools > Scale Bar...");
    }

    /** Add the entry to the menu Plugins, if ImageJ has not read our plugins.config. */
    @SuppressWarnings("unchecked") // of ImageJ's table
    static void addToMenu() {
        Menus.getCommands().put(ENTRY, ToggleScaleBar.class.getName());
        MenuItem item = new MenuItem(ENTRY);
        item.addActionListener(IJ.getInstance());
        MenuBar bar = Menus.getMenuBar();
        for (int at = 0; at < bar.getMenuCount(); at++) {
            Menu menu = bar.getMenu(at);
            if (menu.getLabel().equals("Plugins")) menu.add(item);
        }
    }
}
