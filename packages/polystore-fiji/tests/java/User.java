import ij.IJ;
import ij.ImagePlus;
import ij.macro.Interpreter;
import ij.process.ImageProcessor;
import java.awt.image.BufferedImage;
import java.awt.image.DataBufferByte;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;

/**
 * An ImageJ that receives, and its user. Each line of the input is a macro, whose value is printed
 * as a line. Only the line "mix up" is not a macro, see {@link #mixUp}.
 */
public final class User {
    private User() {}

    public static void main(String[] arguments) throws Exception {
        Thread receiving = new Thread(() -> polystore.fiji.Main.main(arguments));
        receiving.start();
        BufferedReader input =
                new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String macro; (macro = input.readLine()) != null; ) {
            Interpreter interpreter = new Interpreter();
            interpreter.setIgnoreErrors(true); // otherwise ImageJ shows a dialog and waits
            String value;
            try {
                value = macro.equals("mix up") ? mixUp() : interpreter.run(macro, "");
            } catch (RuntimeException cancelled) { // for example, no image is open
                value = "error: " + cancelled;
            }
            if (interpreter.wasError()) value = "error: " + interpreter.getErrorMessage();
            System.out.println("> " + (value == null ? "" : value.replace("\n", " ")));
        }
    }

    /**
     * Change the slice while another thread draws it, as a macro does, until ImageJ keeps a picture
     * of slice 1 for slice 2. A macro alone reaches that state about once in some hundred runs.
     */
    private static String mixUp() throws InterruptedException {
        ImagePlus image = IJ.getImage();
        ImageProcessor processor = image.getProcessor();
        byte[] other = (byte[]) image.getStack().getPixels(1);
        byte[] own = (byte[]) image.getStack().getPixels(2);
        Object drawn = own;
        while (drawn == own) {
            processor.setPixels(other);
            Thread drawing = new Thread(processor::createImage);
            drawing.setUncaughtExceptionHandler((thread, early) -> {}); // it found no raster
            drawing.start();
            Thread.yield();
            processor.setPixels(own);
            drawing.join();
            BufferedImage picture = (BufferedImage) processor.createImage();
            drawn = ((DataBufferByte) picture.getRaster().getDataBuffer()).getData();
        }
        return "";
    }
}
