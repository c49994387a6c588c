"""Other libraries' loops with our logging, and our loops with other libraries' viewers: one module a library.

Ways in: ``summary_writer``, ``lightning``, ``huggingface``, ``accelerate``, ``keras``, ``ignite``, and
``importing`` with a reader for each format. Ways out are backends: ``wandb``, ``mlflow``, ``trackio``,
``parquet``, ``sql``. Each needs the extra of its library, and says so where it is missing.
"""
