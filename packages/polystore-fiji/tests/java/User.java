import ij.macro.Interpreter;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;

/**
 * An ImageJ that receives, and what its user does there: each line of the input is a macro, whose
 * value is printed as a line.
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
            interpreter.setIgnoreErrors(true); // else it shows a dialog, and waits
            String value;
            try {
                value = interpreter.run(macro, "");
            } catch (RuntimeException cancelled) { // such as for want of an image
                value = "error: " + cancelled;
            }
            if (interpreter.wasError()) value = "error: " + interpreter.getErrorMessage();
            System.out.println("> " + (value == null ? "" : value.replace("\n", " ")));
        }
    }
}
